"""Fields of an object of Kubernetes, read strictly; what nobody asks for is not looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address
from sys import intern
from typing import Any, Final, TypeGuard

from mast.galley.core.problem import Finding, Path, warning

_SHOWN = 64
_NOTHING: Final[Mapping[str, Any]] = {}
# What most addresses are, in the one form that they have.
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}", re.ASCII)


class Fields:
    """An object within an object.

    What is wrong with a field is noted in ``findings``, and the field counts as missing; so does
    null.
    """

    def __init__(
        self,
        content: Any,
        findings: list[Finding],
        inside: Fields | None = None,
        at: Path = (),
    ) -> None:
        self._inside = inside
        self._at = at
        self._findings = findings
        self._content: Mapping[str, Any] = _NOTHING
        if isinstance(content, dict | Mapping):
            self._content = content
        elif content is not None:
            self._complain((), content, "an object")

    def __contains__(self, key: str) -> bool:
        return self._content.get(key) is not None

    def text(self, key: str) -> str:
        """Text, "" if there is none."""
        value = self._content.get(key)
        if value is None or _is_text(value):
            return value or ""
        self._complain((key,), value, "text")
        return ""

    def shared(self, key: str) -> str:
        """Text that many objects have in common, such as names of namespaces: once in memory."""
        return intern(str(self.text(key)))

    def one_of(self, key: str, *allowed: str) -> str:
        """One of some words, the first if there is none."""
        value = self.text(key) or allowed[0]
        if value in allowed:
            return value
        self.wrong(key, "unknown-value", f"{value!r} is unknown; allowed: {', '.join(allowed)}")
        return allowed[0]

    def flag(self, key: str) -> bool | None:
        """A boolean, None if there is none."""
        value = self._content.get(key)
        if value is None or isinstance(value, bool):
            return value
        self._complain((key,), value, "a boolean")
        return None

    def port(self, key: str) -> int:
        """A port number, 0 if there is none."""
        value = self._content.get(key)
        if value is None:
            return 0
        if isinstance(value, int) and not isinstance(value, bool):
            if 0 < value < 65536:
                return value
            self.wrong(key, "port", f"port {value} is out of range; allowed: 1 to 65535")
        else:
            self._complain((key,), value, "a port number")
        return 0

    def port_or_name(self, key: str) -> int | str:
        """A port number or the name of a port, 0 if there is none."""
        value = self._content.get(key)
        return value if _is_text(value) else self.port(key)

    def address(self, key: str) -> str:
        """An IP address in its canonical form, "" if there is none."""
        text = self.text(key)
        return self._address(text, (key,)) if text else ""

    def addresses(self, key: str, *besides: str) -> tuple[str, ...]:
        """IP addresses in their canonical form, each once; the words of ``besides`` stay out."""
        found = (
            self._address(text, (key, index))
            for index, text in enumerate(self.names(key))
            if text not in besides
        )
        return tuple(dict.fromkeys(filter(None, found)))

    def time(self, key: str) -> datetime | None:
        """An RFC 3339 time; None if there is none that can be read."""
        try:
            found = datetime.fromisoformat(self.text(key))
        except ValueError:
            return None
        return found if found.tzinfo else None

    def names(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        found = []
        for index, value in enumerate(self._list(key)):
            if _is_text(value):
                found.append(value)
            else:
                self._complain((key, index), value, "text")
        return tuple(found)

    def texts(self, key: str) -> Mapping[str, str]:
        """Texts by name: labels, annotations, selectors; equal ones are once in memory."""
        found = {}
        for name, value in self._mapping(key).items():
            if _is_text(value) and _is_text(name):
                found[intern(str(name))] = intern(str(value))
            else:
                self._complain((key, name), value, "text")
        return found

    def child(self, key: str) -> Fields:
        """An object, without fields if there is none."""
        return Fields(self._content.get(key), self._findings, self, (key,))

    def children(self, key: str) -> Iterator[Fields]:
        """A list of objects."""
        for index, value in enumerate(self._list(key)):
            yield Fields(value, self._findings, self, (key, index))

    def required(self, key: str) -> str:
        """Text that must be there."""
        found = self.text(key)
        if not found and (key not in self or self._content[key] == ""):
            self.wrong(key, "required", f"{key!r} is required")
        return found

    def wrong(self, key: str, rule: str, message: str) -> None:
        """Note that a field breaks a rule."""
        self._findings.append(Finding(self.path((key,)), rule, message))

    def doubt(self, key: str, rule: str, message: str) -> None:
        """Note that a field breaks a rule that does not matter that much."""
        self._findings.append(warning(self.path((key,)), rule, message))

    def _list(self, key: str) -> Sequence[Any]:
        value = self._content.get(key)
        if value is None or isinstance(value, list):
            return value or ()
        self._complain((key,), value, "a list")
        return ()

    def _mapping(self, key: str) -> Mapping[str, Any]:
        value = self._content.get(key)
        if value is None or isinstance(value, Mapping):
            return value or {}
        self._complain((key,), value, "an object")
        return {}

    def _address(self, text: str, at: Path) -> str:
        if _IPV4.fullmatch(text):
            return text
        try:
            return str(ip_address(text))
        except ValueError:
            message = f"{text!r} is not an IP address"
            self._findings.append(Finding(self.path(at), "address", message))
            return ""

    def _complain(self, at: Path, value: Any, wanted: str) -> None:
        message = f"{_shown(value)} is not {wanted}"
        self._findings.append(Finding(self.path(at), "wrong-type", message))

    def path(self, at: Path = ()) -> Path:
        """Where something within this object stands in the whole one; for findings only."""
        found = (*self._at, *at)
        return found if self._inside is None else self._inside.path(found)


def _is_text(value: Any) -> TypeGuard[str]:
    """Text that can be stored: JSON also has halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _shown(value: Any) -> str:
    """A value as a message quotes it."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
