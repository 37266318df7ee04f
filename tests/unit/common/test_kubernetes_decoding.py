"""Objects of any depth come out of listings, with the fields that are wanted."""

from __future__ import annotations

import json
from typing import Any, TypedDict

import pytest

from mast.common.kubernetes.decoding import DEPTH, Decoder, Event, Page, decoded

OTHER = {"text": '"[{\\', "list": [1, {}], "shallow": [[[{"a": []}]]]}


@pytest.mark.parametrize("shape", ["[{}]", '{{"a": {}}}'])
def test_one_deep_value_hides_no_other(shape: str) -> None:
    deep, (before, after) = 5_000, shape.format("|").split("|")
    nested = before * deep + '"]}[{"' + after * deep
    found = decoded(f'{{"deep": {nested}, "other": {json.dumps(OTHER)}}}')
    assert found["other"] == OTHER
    place, levels = found["deep"], 1
    while place is not None:
        place = place[0] if isinstance(place, list) else place["a"]
        levels += 1
    assert levels == DEPTH


@pytest.mark.parametrize("text", ["", "{", "[" * 5000, '{"a": ' * 5000], ids=lambda t: t[:6])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1"):
        decoded(text)


class Port(TypedDict, total=False):
    number: Any


class Shape(TypedDict, total=False):
    metadata: Any
    ports: list[Port] | None


WHOLE = {"metadata": {"name": "a"}, "ports": [{"number": 1, "note": "x"}], "text": "y"}
WANTED = {"metadata": {"name": "a"}, "ports": [{"number": 1}]}
DEEP = '{"metadata":{"name":"deep"},"text":%s}' % ("[" * 20_000 + "]" * 20_000)


def page(*items: str, more: str = "") -> bytes:
    metadata = json.dumps({"resourceVersion": "7", "continue": more})
    return f'{{"metadata": {metadata}, "items": [{",".join(items)}]}}'.encode()


def test_of_a_page_the_fields_of_the_shape() -> None:
    body = page(json.dumps(WHOLE), more="p2")
    assert Decoder(Shape).page(body) == Page([WANTED], "7", "p2")
    assert Decoder().page(body) == Page([WHOLE], "7", "p2")


def test_an_object_of_another_shape_is_whole() -> None:
    odd = WHOLE | {"ports": "none"}
    found = Decoder(Shape).page(page(json.dumps(odd), json.dumps(WHOLE)))
    assert found.objects == [odd, WANTED]


@pytest.mark.parametrize("shape", [None, Shape], ids=["whole", "shape"])
def test_one_deep_object_of_a_page_hides_no_other(shape: Any) -> None:
    first, second = Decoder(shape).page(page(DEEP, json.dumps(WHOLE))).objects
    assert (first["metadata"]["name"], second["metadata"]["name"]) == ("deep", "a")


def test_events() -> None:
    decoder = Decoder(Shape)
    line = json.dumps({"type": "ADDED", "object": WHOLE}).encode()
    assert decoder.event(line) == Event("ADDED", WANTED)
    status = {"code": 410, "reason": "Expired"}
    line = json.dumps({"type": "ERROR", "object": status}).encode()
    assert decoder.event(line) == Event("ERROR", status)
    assert decoder.event(b'{"type":"ADDED","object":%s}' % DEEP.encode()).type == "ADDED"


NO_PAGES = (
    *(b"", b"null", b"[]", b"\xff", b"{}", b'{"metadata": null}', b'{"metadata": {"continue": 5}}'),
    *(b'{"metadata": {}, "items": %s}' % items for items in (b"{}", b"[null]", b"[[]]", b'"a"')),
)


@pytest.mark.parametrize("shape", [None, Shape], ids=["whole", "shape"])
@pytest.mark.parametrize("body", NO_PAGES, ids=repr)
def test_what_is_no_page(body: bytes, shape: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Decoder(shape).page(body)


NO_EVENTS = (
    *(b"", b"null", b"[]", b"\xff", b"{}", b'{"type": "ADDED"}', b'{"type": 1, "object": {}}'),
    *(b'{"type": "ADDED", "object": %s}' % found for found in (b"null", b"[]", b'"a"')),
)


@pytest.mark.parametrize("line", NO_EVENTS, ids=repr)
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Decoder().event(line)
