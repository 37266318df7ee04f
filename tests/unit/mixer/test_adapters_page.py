"""The page of adapters has all of them, with their templates, parameters and defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToDict

from mast.common.etcd import Store
from mast.galley.core.rules.mixer import ADAPTERS, OTHER_ADAPTERS
from mast.mixer.adapters.catalog import Edges, adapters
from mast.mixer.core.adapter import Adapter
from mast.mixer.core.series import Registry
from mast.mixer.core.workloads import Workloads
from tests.support.mixer_config import Clock, no_answer

DOCS = Path(__file__).parents[3] / "docs"
SECTION = re.compile(r"^### (\w+)\n(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `([^`]+)` \| (.*?) ?\| (.*) \|$", re.MULTILINE)
NO_ENUM_VALUES = {"UNKNOWN", "UNSPECIFIED", "DEFAULT"}

PAGE = (DOCS / "mixer-adapters.md").read_text().partition("## All adapters and parameters")[2]
SECTIONS: dict[str, str] = dict(SECTION.findall(PAGE))
# All that the catalog does with a store is to hand it to adapters that are built later.
CATALOG = adapters(
    Edges(
        lambda: datetime(2020, 1, 1, tzinfo=UTC),
        Clock(),
        no_answer,
        Registry(1),
        Workloads(),
        store=cast("Store", object()),
    )
)


def parameters(message: Descriptor, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Names of all fields, ``{}`` behind maps and ``[]`` behind lists, and their enum values."""
    for field in message.fields:
        name, nested = prefix + field.json_name, field.message_type
        if nested is not None and nested.GetOptions().map_entry:
            name, nested = f"{name}{{}}", nested.fields_by_name["value"].message_type
        elif field.is_repeated:
            name += "[]"
        values = {each.name for each in field.enum_type.values} if field.enum_type else set()
        yield name, values - NO_ENUM_VALUES
        if nested is not None and nested.file == message.file:
            yield from parameters(nested, f"{name}.")


def described(adapter: Adapter) -> dict[str, set[str]]:
    message = adapter.defaults.DESCRIPTOR
    return {} if message.file.package == "google.protobuf" else dict(parameters(message))


def default(value: Any) -> str:
    """How the page shows it; objects are told in words."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_all_adapters_are_there() -> None:
    assert set(SECTIONS) == set(CATALOG)


def test_galley_knows_the_same_adapters() -> None:
    known = {name: type(each.defaults) for name, each in CATALOG.items() if name != "noop"}
    assert dict(ADAPTERS) == known
    assert "noop" in OTHER_ADAPTERS


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_an_adapter_is_described(name: str) -> None:
    adapter = CATALOG[name]
    section = SECTIONS.get(name, "")
    templates = ", ".join(f"`{each}`" for each in sorted(adapter.templates))
    assert f"Templates: {templates}.\n" in section
    rows = {row: (shown, text) for row, shown, text in ROW.findall(section)}
    wanted = described(adapter)
    assert list(rows) == list(wanted)
    given = MessageToDict(adapter.defaults)
    for parameter, values in wanted.items():
        shown, text = rows[parameter]
        key = parameter.rstrip("[]{}")
        if isinstance(given.get(key), dict):
            assert shown, parameter
        else:
            assert shown == (default(given[key]) if key in given else ""), parameter
        assert values <= set(re.findall(r"`(\w+)`", text)), parameter
        assert text.strip(), parameter
