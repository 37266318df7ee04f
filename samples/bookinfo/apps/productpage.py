"""productpage: the page users see, made of what details and reviews answer."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from typing import Any

import web

DETAILS = os.environ.get("DETAILS_URL", "http://details:9080")
REVIEWS = os.environ.get("REVIEWS_URL", "http://reviews:9080")


def answer(path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    """GET /productpage (HTML) or /api/v1/products/ID (JSON)."""
    if path == "/health":
        return 200, {"status": "healthy"}
    if path != "/productpage" and not path.startswith("/api/v1/products/"):
        return 404, {"error": path}
    book = "0" if path == "/productpage" else path.rpartition("/")[2]
    details_status, details = web.fetch(f"{DETAILS}/details/{book}", headers)
    reviews_status, reviews = web.fetch(f"{REVIEWS}/reviews/{book}", headers)
    if path != "/productpage":
        parts = {"details": details, "reviews": reviews}
        statuses = {"details_status": details_status, "reviews_status": reviews_status}
        return 200, {"id": book, "instance": web.name(), **statuses, **parts}
    return 200, page(details_status, details, reviews_status, reviews)


def page(details_status: int, details: Any, reviews_status: int, reviews: Any) -> str:
    """The product page as HTML."""
    facts = details if details_status == 200 else {"details": "not available"}
    rows = "".join(f"<tr><th>{k}</th><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items())
    if reviews_status != 200:
        said = "<p>Sorry, reviews are not available.</p>"
    else:
        color = reviews.get("stars")
        stars = f'<span style="color:{color}">★★★★★</span>' if color else ""
        said = f"<p>Reviews by {html.escape(reviews['instance'])} {stars}</p>"
    return (
        "<!doctype html><title>Bookinfo</title><h1>The Comedy of Errors</h1>"
        f"<table>{rows}</table>{said}"
    )


if __name__ == "__main__":
    web.serve(answer)
