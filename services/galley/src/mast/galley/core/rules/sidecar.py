"""Sidecar (galley-and-kubernetes.md B2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mast.galley.core.metadata import dns_label
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    forbidden,
    is_set,
    prefixed,
    required,
    when,
)

_LOCAL = frozenset({"127.0.0.1", "0.0.0.0", "[::1]", "[::]", ""})  # noqa: S104 - names, not binds
_PARTS = ("egress", "ingress", "inbound_connection_pool", "outbound_traffic_policy")


def _object(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    if not any(is_set(spec, part) for part in _PARTS):
        yield required(SPEC, "egress", "ingress", "inboundConnectionPool", "outboundTrafficPolicy")
    policy = spec.outbound_traffic_policy
    if policy.HasField("egress_proxy") and policy.mode != policy.ALLOW_ANY:
        message = "'egressProxy' is only allowed in mode ALLOW_ANY"
        yield Finding((*SPEC, "outboundTrafficPolicy", "egressProxy"), "not-allowed", message)
    yield from _egress(spec)
    yield from _ingress_ports(spec)


def _ingress_ports(spec: Any) -> Iterator[Finding]:
    numbers = [listener.port.number for listener in spec.ingress]
    for index in values.duplicates(numbers):
        if numbers[index]:
            message = f"port {numbers[index]} is given twice"
            yield Finding((*SPEC, "ingress", index, "port", "number"), "duplicate", message)


def _ingress(listener: Any, at: Path) -> Iterator[Finding]:
    port = (*at, "port")
    if is_set(listener, "port") and not listener.port.number:
        yield required((*port, "number"), "number")
    if is_set(listener, "port") and not listener.port.protocol:
        yield required((*port, "protocol"), "protocol")
    if listener.default_endpoint:
        complaint = _default_endpoint(listener.default_endpoint)
        yield from when(complaint, (*at, "defaultEndpoint"), "endpoint")
    protocol = listener.port.protocol.upper()
    if listener.HasField("tls"):
        yield from _ingress_tls(listener.tls, protocol, (*at, "tls"))
    if listener.connection_pool.HasField("http") and protocol not in values.HTTP_PROTOCOLS:
        message = f"HTTP settings have no effect on a port that speaks {protocol or 'nothing'}"
        yield warning((*at, "connectionPool", "http"), "without-effect", message)


def _ingress_tls(tls: Any, protocol: str, at: Path) -> Iterator[Finding]:
    """A sidecar ends TLS with files of its own, in the modes that need a certificate."""
    if protocol not in values.TLS_PROTOCOLS:
        yield Finding(at, "not-allowed", f"'tls' is not allowed for protocol {protocol}")
    why = "in a Sidecar"
    yield from forbidden(tls, at, why, *_OF_GATEWAYS)
    if tls.mode in {tls.ISTIO_MUTUAL, tls.AUTO_PASSTHROUGH}:
        name = tls.DESCRIPTOR.fields_by_name["mode"].enum_type.values_by_number[tls.mode].name
        message = f"mode {name} is not allowed in a Sidecar"
        yield Finding((*at, "mode"), "not-allowed", message)


def _default_endpoint(text: str) -> str | None:
    """``127.0.0.1:PORT``, ``0.0.0.0:PORT``, ``:PORT``, their IPv6 forms or a Unix socket."""
    if text.startswith("unix:"):
        return values.unix(text)
    host, colon, port = text.rpartition(":")
    if not colon or host not in _LOCAL:
        allowed = "127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT, :PORT, unix:///path"
        return f"{text!r} is not a local endpoint; allowed: {allowed}"
    number = values.digits(port)
    return f"{text!r} has no port number" if number is None else values.port(number)


def _egress(spec: Any) -> Iterator[Finding]:
    """One listener without port catches what the others leave, so it is the last."""
    ports: set[tuple[int, str]] = set()
    for index, listener in enumerate(spec.egress):
        at = (*SPEC, "egress", index)
        if not listener.HasField("port"):
            if index != len(spec.egress) - 1:
                message = "a listener without port must be the last one"
                yield Finding(at, "egress", message)
            continue
        if not listener.port.number and not listener.bind.startswith("unix:"):
            yield required((*at, "port", "number"), "number")
        place = (listener.port.number, listener.bind)
        if place in ports:
            message = f"port {listener.port.number} is given twice"
            yield Finding((*at, "port", "number"), "duplicate", message)
        ports.add(place)


def _egress_hosts(listener: Any, at: Path) -> Iterator[Finding]:
    hosts = list(listener.hosts)
    for index, entry in enumerate(hosts):
        yield from when(_egress_host(entry), (*at, "hosts", index), "host")
    for index in values.duplicates(hosts):
        message = f"{hosts[index]!r} is given twice"
        yield warning((*at, "hosts", index), "duplicate", message)


def _egress_host(entry: str) -> str | None:
    """``namespace/host``: namespace ``*``, ``.``, ``~`` (none), a name or ``~name`` (all but)."""
    namespace, slash, host = entry.partition("/")
    if not slash:
        return f"{entry!r} must be namespace/host, for example ./* or */reviews.example.com"
    if namespace not in {"*", ".", "~"} and (complaint := dns_label(namespace.removeprefix("~"))):
        return complaint
    if namespace == "~" and host != "*":
        return f"{entry!r}: ~ means no namespace; write ~/*"
    return values.wildcard(host)


_PACKAGE = "istio.networking.v1alpha3"
_OF_GATEWAYS = (
    "subject_alt_names",
    "https_redirect",
    "credential_name",
    "credential_names",
    "ca_cert_credential_name",
)

FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            "SidecarPort.number": ("port", values.port),
            "SidecarPort.protocol": ("protocol", values.optional_protocol),
            "SidecarPort.name": ("port-name", values.port_name),
            "IstioIngressListener.bind": ("bind", values.ip),
            "IstioEgressListener.bind": ("bind", values.ip_or_unix),
        },
    ),
    without_effect={f"{_PACKAGE}.SidecarPort.target_port": "write defaultEndpoint"},
    messages=prefixed(
        _PACKAGE,
        {"IstioIngressListener": _ingress, "IstioEgressListener": _egress_hosts},
    ),
    objects={"Sidecar": _object},
)
