"""ratings: how many stars each reviewer gave."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import web


def answer(path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    """GET /ratings/ID; $FAULT_FILE may order a status or a delay."""
    ordered = web.fault()
    time.sleep(float(ordered.get("delay_s", 0)))
    if "status" in ordered:
        return int(ordered["status"]), {"error": "ordered to fail", "instance": web.name()}
    if path.startswith("/ratings/"):
        stars = {"Reviewer1": 5, "Reviewer2": 4}
        return 200, {"id": path.rpartition("/")[2], "ratings": stars, "instance": web.name()}
    return (200, {"status": "healthy"}) if path == "/health" else (404, {"error": path})


if __name__ == "__main__":
    web.serve(answer)
