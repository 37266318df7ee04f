"""JSON of an API server: of its objects only what is wanted, and however deep it is nested."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mast.common.kubernetes.objects import Object

# Far more than any kind of ours has, far less than the decoder can take.
DEPTH: Final = 200

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


class Page(NamedTuple):
    """Some objects of a listing at a version; ``more`` asks for the next ones, "" at the end."""

    objects: Sequence[Object]
    version: str
    more: str


class Event(NamedTuple):
    """ADDED, MODIFIED, DELETED, a BOOKMARK, whose object has a version only, or an ERROR."""

    type: str
    object: Object


class _Metadata(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion", default="")
    more: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    metadata: _Metadata
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class Decoder:
    """Decodes objects, of their fields those of ``shape`` only: a TypedDict without required keys.

    The rest is skipped without being made, which takes a tenth of the time. An object whose fields
    have other types than those of the shape is decoded whole.
    """

    def __init__(self, shape: Any = None) -> None:
        self._objects = None if shape is None else msgspec.json.Decoder(shape)
        self._pages = msgspec.json.Decoder(_Page)
        self._events = msgspec.json.Decoder(_Event)

    def page(self, body: bytes) -> Page:
        """A page of a listing; ValueError if it is none."""
        try:
            page = self._pages.decode(body)
        except (msgspec.MsgspecError, RecursionError):
            return _page(decoded(body.decode()))
        objects = [self._object(each) for each in page.items or ()]
        return Page(objects, page.metadata.version, page.metadata.more)

    def event(self, line: bytes) -> Event:
        """An event of a watch; ValueError if it is none."""
        try:
            event = self._events.decode(line)
        except (msgspec.MsgspecError, RecursionError):
            found = _object(decoded(line.decode()), "event")
            return Event(_text(found, "type"), _mapping(found, "object"))
        whole = event.type == "ERROR"
        return Event(event.type, self._object(event.object, whole=whole))

    def _object(self, raw: msgspec.Raw, *, whole: bool = False) -> Object:
        if self._objects is not None and not whole:
            try:
                found: Object = self._objects.decode(raw)
            except (msgspec.MsgspecError, RecursionError):
                pass
            else:
                return found
        return _object(decoded(bytes(raw).decode()), "object")


def _page(answer: Any) -> Page:
    found = _object(answer, "answer")
    metadata = _mapping(found, "metadata")
    items = [] if found.get("items") is None else found["items"]
    if not isinstance(items, list):
        raise ValueError("items: must be a list")
    objects = [_object(each, "items") for each in items]
    return Page(objects, _text(metadata, "resourceVersion"), _text(metadata, "continue"))


def _mapping(found: Object, key: str) -> Object:
    return _object(found.get(key), key)


def _object(value: Any, name: str) -> Object:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: must be an object")
    return value


def _text(found: Object, key: str) -> str:
    value = found.get(key) or ""
    if not isinstance(value, str):
        raise ValueError(f"{key}: must be text")
    return value


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
