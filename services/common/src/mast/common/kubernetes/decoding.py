"""JSON of an API server, which takes deeper nesting than Python's decoder does."""

from __future__ import annotations

import json
import re
from typing import Any, Final

# Far more than any kind of ours has, far less than the decoder can take.
DEPTH: Final = 200

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


def decoded(text: str) -> Any:
    """The value of a JSON text; ValueError if it is none.

    What is nested too deeply to be decoded is null below ``DEPTH`` levels: one such object in a
    listing must not hide the others, and is deeper than anybody takes all the same.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(_cut(text))


def _cut(text: str) -> str:
    kept: list[str] = []
    depth = start = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            if depth == DEPTH:
                kept.append(text[start : token.start()])
            depth += 1
        elif token[0] in "]}":
            depth -= 1
            if depth == DEPTH:
                kept.append("null")
                start = token.end()
    return "".join(kept if depth > DEPTH else (*kept, text[start:]))
