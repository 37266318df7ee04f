"""details: facts about a book."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import web

BOOK = {"author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200}


def answer(path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    """GET /details/ID; the caller's certificate identity, if any, is part of the answer."""
    if path.startswith("/details/"):
        caller = web.caller(headers)
        return 200, {
            "id": path.rpartition("/")[2],
            **BOOK,
            "instance": web.name(),
            "caller": caller,
        }
    return (200, {"status": "healthy"}) if path == "/health" else (404, {"error": path})


if __name__ == "__main__":
    web.serve(answer)
