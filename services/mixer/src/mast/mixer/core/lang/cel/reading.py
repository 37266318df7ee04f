"""What the calls of rewritten expressions do: reads of a request's attributes, and functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cel_expr_python import cel  # type: ignore[import-untyped]

from mast.common.expressions.tree import EvaluationError
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang import functions as library
from mast.mixer.core.lang.hosts import dns_name, email, same_dns_name, same_email
from mast.mixer.core.lang.uris import same_uri, uri
from mast.mixer.core.values import Duration, Get, Timestamp, Value, short_ip, sixteen

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

HAS, KEY, HAS_KEY, MATCHES = "@has", "@key", "@has_key", "@matches"
READ: Final[Mapping[ValueType, str]] = {kind: f"@read_{kind}" for kind in ValueType}
"""What reads an attribute, by its type."""
SAME: Final[Mapping[ValueType, str]] = {
    kind: f"@same_{kind}" for kind in (ValueType.DNS_NAME, ValueType.EMAIL_ADDRESS, ValueType.URI)
}
"""What compares values whose equality is more than that of text."""


_get: Final[ContextVar[Get]] = ContextVar("get")
"""How the attributes of the request that is looked at are read."""


@contextmanager
def request(get: Get) -> Iterator[None]:
    """Evaluate for this request within."""
    before = _get.set(get)
    try:
        yield
    finally:
        _get.reset(before)


def _datetime(value: Timestamp) -> datetime:
    return _EPOCH + timedelta(microseconds=value.ns // 1000)


def _timedelta(value: Duration) -> timedelta:
    return timedelta(microseconds=value.ns // 1000)


# Of each type: the class of its values, what takes values of another class, the value of an absent
# attribute, and what makes CEL's value of it.
_READERS: Final[Mapping[ValueType, tuple[type, Callable[[str, Any], Any], Any]]] = {
    ValueType.STRING: (str, library.read_string, ""),
    ValueType.DNS_NAME: (str, library.read_string, ""),
    ValueType.EMAIL_ADDRESS: (str, library.read_string, ""),
    ValueType.URI: (str, library.read_string, ""),
    ValueType.INT64: (int, library.read_integer, 0),
    ValueType.DOUBLE: (float, library.read_double, 0.0),
    ValueType.BOOL: (bool, library.read_bool, False),
    ValueType.TIMESTAMP: (Timestamp, library.read_timestamp, Timestamp(0)),
    ValueType.DURATION: (Duration, library.read_duration, Duration(0)),
    ValueType.IP_ADDRESS: (bytes, library.read_ip, b""),
    ValueType.STRING_MAP: (dict, library.read_map, {}),
}


def attribute(name: str, kind: ValueType, get: Get) -> Value:
    """The value of an attribute, the zero value of its type if it is absent (E28).

    EvaluationError if the request has another type there (E18).
    """
    wanted, read, zero = _READERS[kind]
    value = get(name)
    if value is None:
        found: Value = zero
    else:
        found = value if value.__class__ is wanted else read(name, value)
    return found


def _reader(kind: ValueType) -> Callable[[str], object]:
    def read(name: str) -> object:
        value = attribute(name, kind, _get.get())
        if isinstance(value, Timestamp):
            return _datetime(value)
        if isinstance(value, Duration):
            return _timedelta(value)
        if isinstance(value, bytes):
            return _ip_text(value)
        if isinstance(value, Mapping):
            return {_whole(key): _whole(each) for key, each in value.items()}
        return _whole(value) if isinstance(value, str) else value

    return read


def _whole(text: str) -> str:
    """The evaluator takes strings until their first NUL: there must be none."""
    if "\0" in text:
        raise EvaluationError(f"{text!r} has a NUL character, which CEL strings here may not have")
    return text


def _ip_text(address: bytes) -> str:
    """Addresses are digits here, always of sixteen bytes: equal ones are equal (E20)."""
    return sixteen(address).hex()


def _ip(text: str) -> str:
    return _ip_text(library.ip(text))


def _has(name: str) -> bool:
    return _get.get()(name) is not None


def _key(name: str, key: str) -> str:
    entries = attribute(name, ValueType.STRING_MAP, _get.get())
    assert isinstance(entries, Mapping)  # noqa: S101  the type says so
    found = entries.get(key)
    if found is None:
        raise EvaluationError(f"no such key: '{key}'")
    return _whole(found)


def _has_key(name: str, key: str) -> bool:
    entries = attribute(name, ValueType.STRING_MAP, _get.get())
    assert isinstance(entries, Mapping)  # noqa: S101  the type says so
    return entries.get(key) is not None


def _matches(text: str, pattern: str) -> bool:
    return library.matches(pattern, text)


def _reverse(text: str) -> str:
    return text[::-1]


_TEXT: Final = cel.Type.STRING
_RESULTS: Final = {
    ValueType.INT64: cel.Type.INT,
    ValueType.DOUBLE: cel.Type.DOUBLE,
    ValueType.BOOL: cel.Type.BOOL,
    ValueType.TIMESTAMP: cel.Type.TIMESTAMP,
    ValueType.DURATION: cel.Type.DURATION,
    ValueType.STRING_MAP: cel.Type.MAP,
}
# Each call: how many strings it takes, what it gives, and what it does.
_CALLS: Final[Mapping[str, tuple[int, cel.Type, Callable[..., Any]]]] = {
    **{READ[kind]: (1, _RESULTS.get(kind, _TEXT), _reader(kind)) for kind in ValueType},
    HAS: (1, cel.Type.BOOL, _has),
    KEY: (2, _TEXT, _key),
    HAS_KEY: (2, cel.Type.BOOL, _has_key),
    MATCHES: (2, cel.Type.BOOL, _matches),
    "match": (2, cel.Type.BOOL, library.match),
    "toLower": (1, _TEXT, library.to_lower),
    "reverse": (1, _TEXT, _reverse),
    "ip": (1, _TEXT, _ip),
    "dnsName": (1, _TEXT, dns_name),
    "email": (1, _TEXT, email),
    "uri": (1, _TEXT, uri),
    SAME[ValueType.DNS_NAME]: (2, cel.Type.BOOL, same_dns_name),
    SAME[ValueType.EMAIL_ADDRESS]: (2, cel.Type.BOOL, same_email),
    SAME[ValueType.URI]: (2, cel.Type.BOOL, same_uri),
}
OVERLOADS: Final = {name: f"mast_{name.removeprefix('@')}" for name in _CALLS}
"""Overload of each call by its name."""


def runtime() -> cel.Env:
    """What rewritten expressions are evaluated in."""
    declared = []
    for name, (count, given, call) in _CALLS.items():
        parameters = [_TEXT] * count
        overload = cel.Overload(
            OVERLOADS[name], return_type=given, parameters=parameters, impl=call
        )
        declared.append(cel.FunctionDecl(name, [overload]))
    return cel.NewEnv(functions=declared)


def result(value: object, kind: ValueType) -> Value:
    """A value of CEL as an attribute's."""
    if isinstance(value, datetime):
        return Timestamp.of(value)
    if isinstance(value, timedelta):
        return Duration.of(value)
    if kind is ValueType.IP_ADDRESS:
        return short_ip(bytes.fromhex(str(value)))
    if kind is ValueType.STRING_MAP:
        assert isinstance(value, Mapping)  # noqa: S101  the checker says so
        return {str(key): str(each) for key, each in value.items()}
    assert isinstance(value, str | bool | int | float)  # noqa: S101  the checker says so
    return value
