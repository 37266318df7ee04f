"""Extensions that stock Envoy 1.40 is built with: their categories, names and message types.

The table `stock_extensions.txt` is what Envoy says of itself (admin page `/server_info`): category,
name, types. A name without types is an old one that only stands for a newer.
"""

from functools import cache
from importlib.resources import files
from typing import Final

HTTP_FILTERS: Final = "envoy.filters.http"
NETWORK_FILTERS: Final = "envoy.filters.network"
LISTENER_FILTERS: Final = "envoy.filters.listener"

_RENAMED: Final = {"envoy.rate_limit": "envoy.filters.http.ratelimit"}
"""Old names whose last part changed as well."""


@cache
def stock() -> dict[str, dict[str, tuple[str, ...]]]:
    """Message types by category and name."""
    table: dict[str, dict[str, tuple[str, ...]]] = {}
    text = files(__package__).joinpath("stock_extensions.txt").read_text()
    for line in text.splitlines():
        category, name, *types = line.split()
        table.setdefault(category, {})[name] = tuple(types)
    return table


@cache
def all_types() -> frozenset[str]:
    """Every message type that an extension of stock Envoy is configured by."""
    rows = (row for names in stock().values() for row in names.values())
    return frozenset(each for row in rows for each in row)


def config_type(category: str, name: str) -> str | None:
    """The message that configures an extension, None if stock Envoy has none of that name.

    Filters have further types for single routes; the own one has the shortest name.
    """
    types = stock()[category].get(canonical(category, name), ())
    return min(types, key=lambda each: (len(each), each), default=None)


@cache
def config_types(category: str) -> frozenset[str]:
    """The messages that configure extensions of a category; those for single routes are not in."""
    found = (config_type(category, name) for name in stock()[category])
    return frozenset(each for each in found if each is not None)


@cache
def canonical(category: str, name: str) -> str:
    """The present name of an extension: `envoy.filters.http.lua` for `envoy.lua` (pilot.md K2)."""
    if name in _RENAMED and category == HTTP_FILTERS:
        return _RENAMED[name]
    if stock()[category].get(name, ("",)):
        return name
    newer = f"{category}.{name.rpartition('.')[2]}"
    return newer if newer in stock()[category] else name
