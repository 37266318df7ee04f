"""URIs as the expression language reads and compares them (mixer.md E24)."""

from __future__ import annotations

import re
from typing import NamedTuple

from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.lang.hosts import same_dns_name
from mast.mixer.core.lang.memory import remembered

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_PORT = re.compile(r"(?::[0-9]*)?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_BAD_HOST_ESCAPE = re.compile(r"%(?:[0-7][0-9A-Fa-f])")
_BAD_IN_HOST = re.compile(r"[^A-Za-z0-9\-_.~!$&'()*+,;=:\[\]<>\"%\x80-\U0010ffff]")
_USERINFO = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class _Uri(NamedTuple):
    scheme: str  # in lower case
    user: str | None
    host: str
    port: str | None  # None: not even a colon
    rest: str  # path, query and fragment as written


def uri(text: str) -> str:
    """The text as it is, if Go's net/url parses it; else EvaluationError."""
    _parsed(text)
    return text


def same_uri(left: str, right: str) -> bool:
    """Scheme in any case; host as DNS and port literally for http(s); the rest byte for byte."""
    one, two = _parsed(left), _parsed(right)
    if (one.scheme, one.user, one.rest) != (two.scheme, two.user, two.rest):
        return False
    if one.scheme in {"http", "https"}:
        if (one.port or "") != (two.port or ""):
            return False
        return one.host == two.host or (
            bool(one.host and two.host) and same_dns_name(one.host, two.host)
        )
    return (one.host, one.port) == (two.host, two.port)


@remembered
def _parsed(text: str) -> _Uri:
    if not text:
        raise EvaluationError("error converting string to uri: empty string")
    try:
        return _split(text)
    except ValueError as error:
        reason = f"parse {text}: {error}"
        raise EvaluationError(f"error converting string to uri '{text}': '{reason}'") from error


def _split(text: str) -> _Uri:
    if _CONTROL.search(text):
        raise ValueError("net/url: invalid control character in URL")
    if text.startswith(":"):
        raise ValueError("missing protocol scheme")
    scheme = _SCHEME.match(text)
    name = scheme[1].lower() if scheme else ""
    rest = text[scheme.end() :] if scheme else text
    main, _, fragment = rest.partition("#")
    path = main.partition("?")[0]
    if not path.startswith("/"):
        if scheme:
            return _Uri(name, None, "", None, rest)
        if ":" in path.partition("/")[0]:
            raise ValueError("first path segment in URL cannot contain colon")
    user: str | None = None
    host, port = "", None
    if path.startswith("//") and (scheme or not path.startswith("///")):
        authority, slash, tail = path[2:].partition("/")
        user, host, port = _authority(authority)
        rest = rest[2 + len(authority) :]
        path = slash + tail
    for part in (path, fragment):
        if bad := _BAD_ESCAPE.search(part):
            raise ValueError(f'invalid URL escape "{bad[0]}"')
    return _Uri(name, user, host, port, rest)


def _authority(authority: str) -> tuple[str | None, str, str | None]:
    before, at, address = authority.rpartition("@")
    if at and not _USERINFO.fullmatch(before):
        raise ValueError("net/url: invalid userinfo")
    if address.startswith("["):
        host, bracket, port = address.rpartition("]")
        if not bracket:
            raise ValueError("missing ']' in host")
        host += bracket
    else:
        host, colon, number = address.rpartition(":")
        host, port = (host, colon + number) if colon else (address, "")
    if not _PORT.fullmatch(port):
        raise ValueError(f'invalid port "{port}" after host')
    if bad := _BAD_ESCAPE.search(host) or _BAD_HOST_ESCAPE.search(host.replace("%25", "")):
        raise ValueError(f'invalid URL escape "{bad[0]}"')
    if bad := _BAD_IN_HOST.search(host):
        raise ValueError(f'invalid character "{bad[0]}" in host name')
    return (before if at else None), host, port[1:] if port else None
