"""ServiceEntry, WorkloadEntry and WorkloadGroup (B2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    exclusive,
    forbidden,
    is_set,
    prefixed,
    required,
    when,
)

# Names of ports that a message lists.
_SHOWN = 20
_DYNAMIC_PROTOCOLS = frozenset({"HTTP", "HTTP2", "GRPC", "TLS"})
# What does not name the host it is for by authority or SNI; no protocol is TCP.
_OPAQUE = values.PROTOCOLS - values.HTTP_PROTOCOLS - values.TLS_PROTOCOLS | {""}


def _service_entry(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    yield from common.export_to(spec.export_to, obj.meta.namespace, none_allowed=True)
    yield from exclusive(spec, SPEC, "workload_selector", "endpoints")
    yield from _hosts(spec)
    yield from _addresses(spec)
    yield from _ports(spec)
    yield from _RESOLUTIONS[spec.resolution](spec)
    yield from _endpoint_ports(spec)


def _hosts(spec: Any) -> Iterator[Finding]:
    for index, host in enumerate(spec.hosts):
        if host.startswith("*.") and spec.resolution not in {spec.NONE, spec.DYNAMIC_DNS}:
            message = f"{host!r} cannot be resolved; name hosts, or use NONE or DYNAMIC_DNS"
            yield warning((*SPEC, "hosts", index), "wildcard-host", message)
    for index in values.duplicates(list(spec.hosts)):
        message = f"{spec.hosts[index]!r} is given twice"
        yield Finding((*SPEC, "hosts", index), "duplicate", message)


def _addresses(spec: Any) -> Iterator[Finding]:
    """Networks have no single endpoint: only NONE and STATIC can have them."""
    if spec.resolution in {spec.NONE, spec.STATIC}:
        return
    for index, address in enumerate(spec.addresses):
        if "/" in address:
            message = f"{address!r}: a CIDR block needs resolution NONE or STATIC"
            yield Finding((*SPEC, "addresses", index), "cidr", message)


def _ports(spec: Any) -> Iterator[Finding]:
    at = (*SPEC, "ports")
    names = [port.name for port in spec.ports]
    numbers = [port.number for port in spec.ports]
    for index in values.duplicates(names):
        if names[index]:
            message = f"port name {names[index]!r} is given twice"
            yield Finding((*at, index, "name"), "duplicate", message)
    for index in values.duplicates(numbers):
        if numbers[index]:
            message = f"port {numbers[index]} is given twice"
            yield Finding((*at, index, "number"), "duplicate", message)
    opaque = [i for i, port in enumerate(spec.ports) if port.protocol.upper() in _OPAQUE]
    for index in opaque:
        if len(spec.hosts) > 1 and spec.resolution != spec.NONE:
            message = "a TCP port cannot tell several hosts apart; use one host or NONE"
            yield Finding((*at, index, "protocol"), "protocol", message)
        elif not spec.addresses and not _allocated(spec):
            message = "a TCP port without 'addresses' takes all traffic on its number"
            yield warning((*at, index, "protocol"), "addresses", message)


def _allocated(spec: Any) -> bool:
    """Whether the hosts get addresses by themselves: those that have endpoints and one name."""
    return spec.resolution != spec.NONE and not any(host.startswith("*") for host in spec.hosts)


def _none(spec: Any) -> Iterator[Finding]:
    if spec.endpoints:
        message = "'endpoints' are not allowed with resolution NONE"
        yield Finding((*SPEC, "endpoints"), "not-allowed", message)
    if is_set(spec, "workload_selector"):
        message = "'workloadSelector' has no effect with resolution NONE"
        yield warning((*SPEC, "workloadSelector"), "without-effect", message)


def _static(spec: Any) -> Iterator[Finding]:
    """Endpoints are addresses or sockets; a socket is one port."""
    for index, endpoint in enumerate(spec.endpoints):
        at = (*SPEC, "endpoints", index)
        address = endpoint.address
        if address.startswith("unix:"):
            if len(spec.ports) != 1:
                message = "a Unix socket needs exactly one port in the entry"
                yield Finding((*at, "address"), "address", message)
        elif address and (complaint := values.ip(address)):
            yield Finding((*at, "address"), "address", f"{complaint}; STATIC resolves no names")


def _dns(spec: Any) -> Iterator[Finding]:
    """Endpoints are names or addresses; without any the hosts are resolved themselves."""
    if not spec.endpoints and not is_set(spec, "workload_selector"):
        for index, host in enumerate(spec.hosts):
            if "*" in host:
                message = f"{host!r} cannot be resolved; give 'endpoints' or whole host names"
                yield Finding((*SPEC, "hosts", index), "host", message)
    if spec.resolution == spec.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
        message = f"{len(spec.endpoints)} endpoints; DNS_ROUND_ROBIN allows one"
        yield Finding((*SPEC, "endpoints"), "endpoints", message)


def _dynamic(spec: Any) -> Iterator[Finding]:
    """Resolved when asked for: wildcards of protocols that name the host."""
    why = "with resolution DYNAMIC_DNS"
    yield from forbidden(spec, SPEC, why, "endpoints", "addresses", "workload_selector")
    for index, host in enumerate(spec.hosts):
        if not host.startswith("*."):
            message = f"{host!r} is no wildcard; use resolution DNS"
            yield Finding((*SPEC, "hosts", index), "host", message)
    for index, port in enumerate(spec.ports):
        if port.protocol.upper() not in _DYNAMIC_PROTOCOLS:
            allowed = ", ".join(sorted(_DYNAMIC_PROTOCOLS))
            message = f"{port.protocol!r} names no host; allowed: {allowed}"
            yield Finding((*SPEC, "ports", index, "protocol"), "protocol", message)


def _endpoint_ports(spec: Any) -> Iterator[Finding]:
    names = {port.name for port in spec.ports}
    known = ", ".join(sorted(names)[:_SHOWN]) or "none"
    for index, endpoint in enumerate(spec.endpoints):
        if not endpoint.address and not endpoint.network:
            yield required((*SPEC, "endpoints", index, "address"), "address")
        for name in endpoint.ports:
            if name not in names:
                message = f"port {name!r} is not a port of the entry; known: {known}"
                yield Finding((*SPEC, "endpoints", index, "ports", name), "port", message)


# By number of ServiceEntry.Resolution.
_RESOLUTIONS = (_none, _static, _dns, _dns, _dynamic)


def _workload(workload: Any, at: Path) -> Iterator[Finding]:
    """The address of a workload, and what goes with a socket."""
    yield from common.labels(workload.labels, (*at, "labels"))
    address = workload.address
    if address.startswith("unix:"):
        yield from when(values.unix(address), (*at, "address"), "address")
        if workload.ports:
            message = "'ports' are not allowed with a Unix socket"
            yield Finding((*at, "ports"), "not-allowed", message)
    elif address:
        yield from when(values.host_or_ip(address), (*at, "address"), "address")


def _workload_entry(obj: ConfigObject) -> Iterator[Finding]:
    """An address, unless the workload is reached through another network's gateway."""
    if not obj.spec.address:
        if obj.spec.network:
            message = "no 'address': reached only through the gateway of its network"
            yield warning((*SPEC, "address"), "address", message)
        else:
            yield required((*SPEC, "address"), "address", "network")


def _workload_group(obj: ConfigObject) -> Iterator[Finding]:
    meta = obj.spec.metadata
    yield from common.labels(meta.labels, (*SPEC, "metadata", "labels"))
    if obj.spec.HasField("probe") and obj.spec.probe.WhichOneof("health_check_method") is None:
        yield required((*SPEC, "probe"), "httpGet", "tcpSocket", "exec", "grpc")
    if obj.spec.template.address:
        message = "'address' has no effect: every workload of the group has its own"
        yield warning((*SPEC, "template", "address"), "without-effect", message)


_PACKAGE = "istio.networking.v1alpha3"
_PROBE_NUMBERS = (
    "initial_delay_seconds",
    "timeout_seconds",
    "period_seconds",
    "success_threshold",
    "failure_threshold",
)

FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            "ServiceEntry.hosts": ("host", values.named_host),
            "ServiceEntry.addresses": ("cidr", values.cidr),
            "ServicePort.number": ("port", values.port),
            "ServicePort.target_port": ("port", values.port),
            "ServicePort.name": ("port-name", values.port_name),
            "ServicePort.protocol": ("protocol", values.optional_protocol),
            "WorkloadEntry.ports": ("port", values.port),
            **{f"ReadinessProbe.{n}": ("number", values.not_negative) for n in _PROBE_NUMBERS},
            "HTTPHealthCheckConfig.port": ("port", values.port),
            "HTTPHealthCheckConfig.scheme": ("scheme", values.one_of("HTTP", "HTTPS")),
            "GrpcHealthCheckConfig.port": ("port", values.port),
            "TCPHealthCheckConfig.port": ("port", values.port),
            "HTTPHeader.name": ("header", values.token),
        },
    ),
    keys={f"{_PACKAGE}.WorkloadEntry.ports": ("port-name", values.port_name)},
    messages={f"{_PACKAGE}.WorkloadEntry": _workload},
    objects={
        "ServiceEntry": _service_entry,
        "WorkloadEntry": _workload_entry,
        "WorkloadGroup": _workload_group,
    },
)
