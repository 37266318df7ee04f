"""The lists that listchecker consults: what an entry matches, what a fetched list says (G.1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import yaml

from istio.mixer.adapter.list.config.config_pb2 import Params
from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.lang.functions import regex


class Entries(Protocol):
    """A list of one type."""

    def has(self, symbol: str) -> bool:
        """Whether a symbol is in the list; raises ValueError if it cannot be in any."""
        ...


class Strings:
    """Exact strings."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = frozenset(entries)

    def has(self, symbol: str) -> bool:
        """Exactly this entry."""
        return symbol in self._entries


class CaselessStrings(Strings):
    """Strings in any case."""

    def __init__(self, entries: Iterable[str]) -> None:
        super().__init__(entry.upper() for entry in entries)

    def has(self, symbol: str) -> bool:
        """This entry in any case."""
        return super().has(symbol.upper())


class Patterns:
    """RE2 patterns, found anywhere."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ValueError for a pattern that is none."""
        self._patterns = []
        for entry in entries:
            try:
                self._patterns.append(regex(entry))
            except EvaluationError as error:
                raise ValueError(f"could not parse regex '{entry}'") from error

    def has(self, symbol: str) -> bool:
        """Any pattern is found in it."""
        return any(pattern.search(symbol) for pattern in self._patterns)


class Networks:
    """IP networks; an entry without prefix length is one address."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ValueError for an entry that is no network."""
        self._networks = frozenset(ipaddress.ip_network(each, strict=False) for each in entries)
        self._lengths = sorted(
            {(each.version, each.prefixlen) for each in self._networks}, reverse=True
        )

    def has(self, symbol: str) -> bool:
        """Some network contains the address; ValueError if the symbol is none."""
        address = ipaddress.ip_address(symbol)
        return any(
            ipaddress.ip_network((address, length), strict=False) in self._networks
            for version, length in self._lengths
            if version == address.version
        )


TYPES: Mapping[int, Callable[[Iterable[str]], Entries]] = {
    Params.STRINGS: Strings,
    Params.CASE_INSENSITIVE_STRINGS: CaselessStrings,
    Params.IP_ADDRESSES: Networks,
    Params.REGEX: Patterns,
}


def parsed(entry_type: int, body: bytes, overrides: Iterable[str]) -> Entries:
    """The list that a fetched body and the overrides make; ValueError if it is none.

    Addresses come as YAML ``whitelist: [...]``, everything else one a line.
    """
    try:
        content = body.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"list is no UTF-8 text: {error}") from error
    if entry_type != Params.IP_ADDRESSES:
        return TYPES[entry_type]([*filter(None, content.split("\n")), *overrides])
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(f"could not unmarshal the list: {error}") from error
    entries = document.get("whitelist") if isinstance(document, dict) else document
    if not isinstance(entries, list | None) or any(not isinstance(e, str) for e in entries or ()):
        raise ValueError("could not unmarshal the list: want 'whitelist' with a list of addresses")
    return Networks([*(entries or ()), *overrides])
