"""Rules for single values (galley-and-kubernetes.md B1): each returns a complaint or None."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import re2  # type: ignore[import-untyped]

Check = Callable[[Any], str | None]

HOST_LIMIT = 255
REGEX_LIMIT = 1024
# What every proxy's runtime allows a compiled expression (pilot.md A7, re2.max_program_size).
REGEX_PROGRAM_LIMIT = 32768
# What Envoy takes as name or value of a header that it adds.
HEADER_LIMIT = 16384
QUERY_PARAMETER_LIMIT = 1024
# Envoy counts nanoseconds in 64 bits: about 292 years.
DURATION_LIMIT_SECONDS = 9_223_372_035
# A Unix socket's path, with the zero byte that ends it, has 108 bytes.
SOCKET_PATH_LIMIT = 107
# What the kernel takes as TCP_KEEPIDLE and TCP_KEEPINTVL, and as TCP_KEEPCNT.
KEEPALIVE_LIMIT_SECONDS = 32767
KEEPALIVE_PROBES_LIMIT = 127
PROTOCOLS = frozenset(
    {"HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "MONGO", "TCP", "TLS", "MYSQL", "REDIS", "UDP"}
)
HTTP_PROTOCOLS = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
TLS_PROTOCOLS = frozenset({"HTTPS", "TLS"})

_HOST_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile(r"[0-9]{1,9}")
_NANOS_PER_MS = 1_000_000


def digits(text: str) -> int | None:
    """The number that at most nine ASCII digits are; None for any other text."""
    return int(text) if _DIGITS.fullmatch(text) else None


def nonempty(text: str) -> str | None:
    """Text that must say something."""
    return None if text else "must not be empty"


def port(number: int) -> str | None:
    """A port number."""
    return None if 1 <= number <= 65535 else f"port {number} is out of range; allowed: 1 to 65535"


def percent(value: float) -> str | None:
    """A percentage."""
    return None if 0 <= value <= 100 else f"percentage {value:g} is out of range; allowed: 0 to 100"


def fraction(value: float) -> str | None:
    """A percentage that Envoy can express: in steps of a ten-thousandth."""
    if value == 0 or 0.0001 <= value <= 100:
        return None
    return f"percentage {value:g} is out of range; allowed: 0, or 0.0001 to 100"


def http_status(code: int) -> str | None:
    """A final HTTP status."""
    return None if 200 <= code <= 599 else f"HTTP status {code} is not allowed; allowed: 200 to 599"


def not_negative(value: float) -> str | None:
    """A number of things."""
    return None if value >= 0 else f"{value:g} is negative; allowed: 0 or more"


def duration(value: Any) -> str | None:
    """A protobuf Duration of at least a millisecond, in whole milliseconds."""
    nanos = value.ToNanoseconds()
    if nanos < _NANOS_PER_MS:
        return f"duration {value.ToJsonString()} is too short; allowed: 1ms or more"
    if nanos % _NANOS_PER_MS:
        return f"duration {value.ToJsonString()} is not a whole number of milliseconds"
    return _not_too_long(value)


def duration_or_zero(value: Any) -> str | None:
    """A duration, or 0 to switch something off."""
    return None if value.ToNanoseconds() == 0 else duration(value)


def whole_seconds(value: Any) -> str | None:
    """A duration of whole seconds, at least one."""
    if value.ToNanoseconds() >= 1_000_000_000 and value.nanos == 0:
        return _not_too_long(value)
    return f"duration {value.ToJsonString()} is not allowed; allowed: whole seconds, 1s or more"


def keepalive(value: Any) -> str | None:
    """A duration that the kernel takes for TCP keepalive, which rounds up to seconds."""
    if duration(value) is None and value.seconds + bool(value.nanos) > KEEPALIVE_LIMIT_SECONDS:
        allowed = f"1ms to {KEEPALIVE_LIMIT_SECONDS}s"
        return f"duration {value.ToJsonString()} is too long for the kernel; allowed: {allowed}"
    return duration(value)


def keepalive_probes(number: int) -> str | None:
    """A number of probes that the kernel takes for TCP keepalive; 0 leaves it the default."""
    if number <= KEEPALIVE_PROBES_LIMIT:
        return None
    return f"{number} probes are too many for the kernel; allowed: 0 to {KEEPALIVE_PROBES_LIMIT}"


def _not_too_long(value: Any) -> str | None:
    if value.seconds <= DURATION_LIMIT_SECONDS:
        return None
    return f"duration {value.ToJsonString()} is too long; allowed: up to {DURATION_LIMIT_SECONDS}s"


def fqdn(host: str) -> str | None:
    """A domain name; a final dot is fine, a numeric last label is not."""
    name = host.removesuffix(".")
    labels = name.split(".")
    if not 0 < len(name) <= HOST_LIMIT or not all(map(_HOST_LABEL.fullmatch, labels)):
        return f"{host!r} is not a host name"
    if labels[-1].isdigit():
        return f"{host!r} is not a host name: its last label is a number"
    return None


def wildcard(host: str) -> str | None:
    """A domain name whose first label may be ``*``; ``*`` alone as well."""
    if host == "*":
        return None
    if "*" in host.removeprefix("*."):
        return f"{host!r} is not a host name: * may only be its whole first label"
    return fqdn(host.removeprefix("*."))


def named_host(host: str) -> str | None:
    """A domain name or wildcard, but not ``*`` alone."""
    if host == "*":
        return "'*' is not allowed here; name a host"
    return wildcard(host)


def ip(text: str) -> str | None:
    """An IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return f"{text!r} is not an IP address"
    return None


def cidr(text: str) -> str | None:
    """An address or a network such as 10.0.0.0/8; without the zone of a link."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is not an IP address or CIDR block"
    return f"{text!r} has a zone, which means nothing elsewhere" if "%" in text else None


def unix(text: str) -> str | None:
    """``unix:///absolute/path`` or ``unix://@abstract``, no longer than the kernel takes."""
    path = text.removeprefix("unix://")
    if path == text or not (path[:1] == "/" or (path[:1] == "@" and len(path) > 1)):
        return f"{text!r} is not a Unix socket; allowed: unix:///path, unix://@name"
    if path.endswith("/"):
        return f"{text!r} ends with '/': not a socket"
    if "\x00" in path:
        return f"{text!r} has a zero byte"
    if len(path.encode()) > SOCKET_PATH_LIMIT:
        return f"socket {path!r} is longer than {SOCKET_PATH_LIMIT} bytes"
    return None


def ip_or_unix(text: str) -> str | None:
    """What a listener binds to."""
    return unix(text) if text.startswith("unix:") else ip(text)


def file(path: str) -> str | None:
    """A file of the proxy's machine; its agent is asked for several at once, separated by ``~``."""
    return f"{path!r} has a '~' or zero byte" if set(path) & {"~", "\x00"} else None


def own_certificate(credential: str) -> str | None:
    """The name of a credential with a certificate and its key, not of one with roots alone."""
    if credential.endswith("-cacert"):
        return (
            f"{credential!r} stands for roots; leave '-cacert' out, they are found by that suffix"
        )
    return None


def host_or_ip(text: str) -> str | None:
    """A domain name or an address."""
    return None if ip(text) is None else fqdn(text)


def protocol(text: str) -> str | None:
    """A protocol's name, in any case."""
    if text.upper() in PROTOCOLS:
        return None
    return f"protocol {text!r} is unknown; allowed: {', '.join(sorted(PROTOCOLS))}"


def optional_protocol(text: str) -> str | None:
    """A protocol's name, or nothing."""
    return protocol(text) if text else None


def port_name(text: str) -> str | None:
    """A port's name: a DNS-1123 label."""
    if _PORT_NAME.fullmatch(text):
        return None
    return f"port name {text!r} must be lower case letters, digits and '-', at most 63"


def regex(text: str) -> str | None:
    """An RE2 expression of at most 1024 bytes, not too large when compiled.

    It is compiled as Envoy does, which takes text for bytes: `\\x{100}` is no character there.
    """
    if not text:
        return "regular expression must not be empty"
    if len(text.encode()) > REGEX_LIMIT:
        return f"regular expression is longer than {REGEX_LIMIT} bytes"
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        compiled = re2.compile(text.encode(), options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        return f"{text!r} is not an RE2 regular expression: {said}"
    if compiled.programsize > REGEX_PROGRAM_LIMIT:
        size = f"{compiled.programsize} instructions; allowed: {REGEX_PROGRAM_LIMIT}"
        return f"{text!r} is too large a regular expression: {size}"
    return None


def header_name(name: str) -> str | None:
    """An HTTP header's name: a token; pseudo headers and Host are set in other ways."""
    if name.lower() == "host":
        return f"header {name!r} is not allowed; use rewrite.authority"
    if name.startswith(":"):
        return f"header {name!r} is not allowed: it is a pseudo header"
    return token(name)


def token(name: str) -> str | None:
    """A header name as HTTP writes it."""
    if len(name) > HEADER_LIMIT:
        return f"header name has {len(name)} characters; allowed: {HEADER_LIMIT}"
    return None if _TOKEN.fullmatch(name) else f"{name!r} is not an HTTP header name"


def header_value(value: str) -> str | None:
    """A header's value: no control characters; ``%`` only in pairs, Envoy expands ``%…%``."""
    if _CONTROL.search(value):
        return f"{value!r} has control characters"
    if value.count("%") % 2:
        return f"{value!r} has an unpaired '%'; write %% for one"
    size = len(value.replace("%", "%%").encode())
    if size > HEADER_LIMIT:
        return f"header value has {size} bytes, with %% for %; allowed: {HEADER_LIMIT}"
    return None


def header_text(text: str) -> str | None:
    """A text that becomes a part of a header or of a handshake: no control characters."""
    if _CONTROL.search(text):
        return f"{text!r} has control characters"
    size = len(text.encode())
    return None if size <= HEADER_LIMIT else f"text has {size} bytes; allowed: {HEADER_LIMIT}"


def query_parameter(name: str) -> str | None:
    """The name of a query parameter."""
    size = len(name.encode())
    if 1 <= size <= QUERY_PARAMETER_LIMIT:
        return None
    return f"query parameter has {size} bytes; allowed: 1 to {QUERY_PARAMETER_LIMIT}"


def one_of(*allowed: str) -> Check:
    """One of some words."""

    def check(text: str) -> str | None:
        if text in allowed:
            return None
        return f"{text!r} is not allowed; allowed: {', '.join(allowed)}"

    return check


def at_most(limit: int) -> Check:
    """Text of limited length."""

    def check(text: str) -> str | None:
        if len(text) <= limit:
            return None
        return f"text has {len(text)} characters; allowed: {limit}"

    return check


def url(*schemes: str) -> Check:
    """An absolute URL with one of some schemes and a host."""

    def check(text: str) -> str | None:
        scheme, separator, rest = text.partition("://")
        if separator and scheme in schemes and rest.split("/")[0]:
            return None
        return f"{text!r} is not a URL; allowed: {', '.join(f'{s}://…' for s in schemes)}"

    return check


def covers(general: str, special: str) -> bool:
    """Whether a host or wildcard stands for everything that another one does."""
    general, special = general.lower(), special.lower()
    if general == "*" or general == special:
        return True
    return general.startswith("*.") and special.removeprefix("*").endswith(general[1:])


class Hosts:
    """Hosts and wildcards, asked in no time which of them stands for everything another one does.

    Texts that are too long for hosts stand for nothing.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts: dict[str, str] = {}
        self._below: dict[str, str] = {}
        for host in hosts:
            self.add(host)

    def add(self, host: str) -> None:
        """Have one more."""
        if len(host) > HOST_LIMIT:
            return
        self._hosts.setdefault(host.lower(), host)
        for wildcard in _wildcards(host.lower()):
            self._below.setdefault(wildcard, host)

    def covering(self, host: str) -> str | None:
        """One that stands for everything that a host does, itself included."""
        if len(host) > HOST_LIMIT:
            return None
        wanted = host.lower()
        found = (self._hosts.get(each) for each in (wanted, *_wildcards(wanted)))
        return next(filter(None, found), None)

    def covered(self, host: str) -> str | None:
        """One for all of which a wildcard stands."""
        return self._below.get(host.lower()) if len(host) <= HOST_LIMIT else None


def _wildcards(host: str) -> Iterator[str]:
    """What stands for a host besides itself, the nearest first: `*.b.c` and `*.c` for `a.b.c`."""
    name = host.removeprefix("*.")
    labels = name.split(".")
    for number in range(0 if name != host else 1, len(labels)):
        yield f"*.{'.'.join(labels[number:])}"
    yield "*"


def duplicates(values: Sequence[Any]) -> list[int]:
    """Indices of values that were there before."""
    seen: set[Any] = set()
    found = []
    for index, value in enumerate(values):
        if value in seen:
            found.append(index)
        seen.add(value)
    return found
