"""The conformance vectors of the attribute protocol, as Mixer's values and messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from istio.mixer.v1.attributes_pb2 import CompressedAttributes
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.lang.functions import timestamp
from mast.mixer.core.values import Duration, Value

_FILE = Path(__file__).parents[1] / "conformance" / "mixer_attributes.json"

_SHORT_FIELDS = {"durations_ns": "durations", "bytes_hex": "bytes"}


@cache
def _document() -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(_FILE.read_text())
    return document


def vectors(*sections: str) -> list[Any]:
    """The cases of some sections, as pytest parameters named by their ids."""
    cases = [case for case in _document()["cases"] if case["section"] in sections]
    assert {case["section"] for case in cases} == set(sections)
    return [pytest.param(case, id=case["id"]) for case in cases]


def dictionary(case: Mapping[str, Any]) -> Sequence[str]:
    """The global words of a case."""
    words = case.get("global_words", [])
    return WORDS if words == "istio_global" else words


def recorded_words() -> Sequence[str]:
    """The word list of the vectors."""
    words: Sequence[str] = _document()["dictionaries"]["istio_global"]
    return words


def value(described: Mapping[str, Any] | None) -> Value | None:
    """An attribute value; URIs, DNS names and e-mail addresses are strings here (A4)."""
    if described is None:
        return None
    match described["t"]:
        case "timestamp":
            return timestamp(described["v"])
        case "duration":
            return Duration(described["ns"])
        case "bytes":
            return bytes.fromhex(described["hex"])
        case _:
            found: Value = described["v"]
            return found


def values(described: Mapping[str, Any]) -> dict[str, Value]:
    """Attributes by name."""
    return {name: found for name, each in described.items() if (found := value(each)) is not None}


def message(described: Mapping[str, Any]) -> CompressedAttributes:
    """A message from its JSON form."""
    built = CompressedAttributes(words=described.get("words", []))
    for field, entries in described.items():
        for index, each in entries.items() if isinstance(entries, dict) else ():
            _put(built, _SHORT_FIELDS.get(field, field), int(index), each)
    return built


def _put(built: CompressedAttributes, field: str, index: int, each: Any) -> None:
    target = getattr(built, field)
    if field == "string_maps":
        target[index].entries.update({int(key): word for key, word in each.items()})
    elif field == "timestamps":
        instant = timestamp(each).ns
        target[index].seconds, target[index].nanos = divmod(instant, 10**9)
    elif field == "durations":
        target[index].FromNanoseconds(each)
    elif field == "bytes":
        target[index] = bytes.fromhex(each)
    else:
        target[index] = each


def parsed(wire_hex: str) -> CompressedAttributes:
    """A message from its bytes."""
    return CompressedAttributes.FromString(bytes.fromhex(wire_hex))
