"""Fields of an object of Kubernetes, read strictly; what nobody asks for is not looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import Any, TypeGuard

from mast.galley.core.problem import Finding, Path, warning

_SHOWN = 64


class Fields:
    """An object within an object.

    What is wrong with a field is noted in ``findings``, and the field counts as missing; so does
    null.
    """

    def __init__(self, content: Any, findings: list[Finding], path: Path = ()) -> None:
        self._path = path
        self._findings = findings
        self._content: Mapping[str, Any] = {}
        if isinstance(content, Mapping):
            self._content = content
        elif content is not None:
            self._complain(path, content, "an object")

    def __contains__(self, key: str) -> bool:
        return self._content.get(key) is not None

    def text(self, key: str) -> str:
        """Text, "" if there is none."""
        value = self._content.get(key)
        if value is None or _is_text(value):
            return value or ""
        self._complain((*self._path, key), value, "text")
        return ""

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
        self._complain((*self._path, key), value, "a boolean")
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
            self._complain((*self._path, key), value, "a port number")
        return 0

    def port_or_name(self, key: str) -> int | str:
        """A port number or the name of a port, 0 if there is none."""
        value = self._content.get(key)
        return value if _is_text(value) else self.port(key)

    def address(self, key: str) -> str:
        """An IP address in its canonical form, "" if there is none."""
        text = self.text(key)
        return self._address(text, (*self._path, key)) if text else ""

    def addresses(self, key: str, *besides: str) -> tuple[str, ...]:
        """IP addresses in their canonical form, each once; the words of ``besides`` stay out."""
        found = (
            self._address(text, (*self._path, key, index))
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
                self._complain((*self._path, key, index), value, "text")
        return tuple(found)

    def texts(self, key: str) -> Mapping[str, str]:
        """Texts by name: labels, annotations, selectors."""
        found = {}
        for name, value in self._mapping(key).items():
            if _is_text(value) and _is_text(name):
                found[name] = value
            else:
                self._complain((*self._path, key, name), value, "text")
        return found

    def child(self, key: str) -> Fields:
        """An object, without fields if there is none."""
        return Fields(self._content.get(key), self._findings, (*self._path, key))

    def children(self, key: str) -> Iterator[Fields]:
        """A list of objects."""
        for index, value in enumerate(self._list(key)):
            yield Fields(value, self._findings, (*self._path, key, index))

    def required(self, key: str) -> str:
        """Text that must be there."""
        found = self.text(key)
        if not found and (key not in self or self._content[key] == ""):
            self.wrong(key, "required", f"{key!r} is required")
        return found

    def wrong(self, key: str, rule: str, message: str) -> None:
        """Note that a field breaks a rule."""
        self._findings.append(Finding((*self._path, key), rule, message))

    def doubt(self, key: str, rule: str, message: str) -> None:
        """Note that a field breaks a rule that does not matter that much."""
        self._findings.append(warning((*self._path, key), rule, message))

    def _list(self, key: str) -> Sequence[Any]:
        value = self._content.get(key)
        if value is None or isinstance(value, list):
            return value or ()
        self._complain((*self._path, key), value, "a list")
        return ()

    def _mapping(self, key: str) -> Mapping[str, Any]:
        value = self._content.get(key)
        if value is None or isinstance(value, Mapping):
            return value or {}
        self._complain((*self._path, key), value, "an object")
        return {}

    def _address(self, text: str, at: Path) -> str:
        try:
            return str(ip_address(text))
        except ValueError:
            self._findings.append(Finding(at, "address", f"{text!r} is not an IP address"))
            return ""

    def _complain(self, at: Path, value: Any, wanted: str) -> None:
        self._findings.append(Finding(at, "wrong-type", f"{_shown(value)} is not {wanted}"))


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
