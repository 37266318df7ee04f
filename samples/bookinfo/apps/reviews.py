"""reviews: what readers say. v1 shows no stars, v2 black ones, v3 red ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import web

VERSION = os.environ.get("VERSION", "v1")
COLOR = {"v2": "black", "v3": "red"}
RATINGS = os.environ.get("RATINGS_URL", "http://ratings:9080")


def answer(path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    """GET /reviews/ID; the caller's certificate identity, if any, is part of the answer."""
    if not path.startswith("/reviews/"):
        return (200, {"status": "healthy"}) if path == "/health" else (404, {"error": path})
    book = path.rpartition("/")[2]
    document: dict[str, Any] = {
        "id": book,
        "version": VERSION,
        "instance": web.name(),
        "caller": web.caller(headers),
        "reviews": [{"reviewer": "Reviewer1"}, {"reviewer": "Reviewer2"}],
    }
    if VERSION in COLOR:
        status, ratings = web.fetch(f"{RATINGS}/ratings/{book}", headers)
        document["ratings_status"] = status
        document["stars"] = COLOR[VERSION] if status == 200 else None
        document["ratings"] = ratings if status == 200 else str(ratings)[:200]
    return 200, document


if __name__ == "__main__":
    web.serve(answer)
