"""What a proxy tells of a client certificate that it verified: the header XFCC.

The grammar is Envoy's ("x-forwarded-client-cert"): elements are separated by commas, their pairs by
semicolons; a value with one of ``,;="`` in it is quoted, and then a backslash escapes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_BYTES = 64 << 10
MAX_ELEMENTS = 64

# Keys that mean nothing here may come: Envoy's list grows.
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Element:
    """One certificate: values by key in lower case, in their order."""

    pairs: tuple[tuple[str, str], ...]

    def values(self, key: str) -> tuple[str, ...]:
        """The values of a key that may come several times, without empty ones."""
        return tuple(value for name, value in self.pairs if name == key and value)

    @property
    def common_name(self) -> str:
        """The CN of the subject, "" if there is none."""
        subject = next(iter(self.values("subject")), "")
        return next((value for name, value in _attributes(subject) if name == "CN"), "")


def elements(header: str) -> tuple[Element, ...]:
    """The elements of a header, the client's first; ValueError says what is wrong with it."""
    if len(header) > MAX_BYTES:
        raise ValueError(f"XFCC of {len(header)} characters, want at most {MAX_BYTES}")
    found: list[Element] = []
    pairs: list[tuple[str, str]] = []
    for key, value, end in _pairs(header):
        if not _KEY.fullmatch(key):
            raise ValueError(f"XFCC has the key {key[:40]!r}")
        pairs.append((key.lower(), value))
        if end in (",", ""):
            found.append(Element(tuple(pairs)))
            pairs = []
    if len(found) > MAX_ELEMENTS:
        raise ValueError(f"XFCC has {len(found)} elements, want at most {MAX_ELEMENTS}")
    return tuple(found)


def names(found: Element) -> tuple[str, ...]:
    """The identities of an element: every URI, every DNS name, the subject's CN (A5)."""
    common_name = found.common_name
    every = (*found.values("uri"), *found.values("dns"), *([common_name] if common_name else ()))
    return tuple(dict.fromkeys(every))


def _pairs(header: str) -> Iterator[tuple[str, str, str]]:
    """Key, value, and what ends the pair: ``;``, ``,`` or the end of the text."""
    position = 0
    while True:
        equals = header.find("=", position)
        if equals < 0:
            raise ValueError("XFCC has a pair without '='")
        key = header[position:equals].strip()
        value, position = _value(header, equals + 1)
        end = header[position : position + 1]
        if end not in (";", ",", ""):
            raise ValueError("XFCC has text behind a quoted value")
        yield key, value, end
        if not end:
            return
        position += 1


def _value(header: str, start: int) -> tuple[str, int]:
    """A value and the position behind it."""
    if header[start : start + 1] != '"':
        ends = [found for end in ";," if (found := header.find(end, start)) >= 0]
        end = min(ends, default=len(header))
        value = header[start:end].strip()
        if '"' in value:
            raise ValueError("XFCC has a quote within a value")
        return value, end
    characters: list[str] = []
    position = start + 1
    while position < len(header):
        character = header[position]
        if character == '"':
            return "".join(characters), position + 1
        if character == "\\":
            position += 1
            character = header[position : position + 1]
        characters.append(character)
        position += 1
    raise ValueError("XFCC has a quote that does not end")


def _attributes(subject: str) -> Iterator[tuple[str, str]]:
    """Types and values of a distinguished name, as RFC 2253 or OpenSSL's ``/C=…/CN=…`` has it."""
    separator = "/" if subject.startswith("/") else ","
    current: list[str] = []
    escaped = False
    for character in (*subject.removeprefix("/"), separator):
        if escaped:
            current.append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in (separator, "+"):
            name, equals, value = "".join(current).partition("=")
            if equals:
                yield name.strip().upper(), value.strip()
            current = []
        else:
            current.append(character)
