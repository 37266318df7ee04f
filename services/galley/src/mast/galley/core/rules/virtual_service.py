"""VirtualService as a whole (galley-and-kubernetes.md B2); its HTTP rules are in http_route."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mast.galley.core.metadata import dns_label
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, http_route, reach, values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    forbidden,
    is_set,
    json_name,
    prefixed,
    required,
    when,
)

MESH = "mesh"
_CLAIMS = "@request.auth.claims"


def _object(obj: ConfigObject) -> Iterator[Finding]:
    """Hosts, gateways, rules, and that all rules agree with them."""
    spec = obj.spec
    meshed = not spec.gateways or MESH in spec.gateways
    yield from _hosts(spec, meshed)
    yield from common.gateway_names(spec.gateways, (*SPEC, "gateways"))
    yield from common.export_to(spec.export_to, obj.meta.namespace)
    if not (spec.http or spec.tls or spec.tcp):
        yield required(SPEC, "http", "tls", "tcp")
    for index, route in enumerate(spec.http):
        at = (*SPEC, "http", index)
        if not spec.hosts and is_set(route, "delegate"):
            message = "a delegate must not delegate further"
            yield Finding((*at, "delegate"), "delegate", message)
        for number, match in enumerate(route.match):
            gateways = match.gateways or spec.gateways or (MESH,)
            yield from _claims(match, gateways, (*at, "match", number))
    hosts = values.Hosts(spec.hosts)
    for index, route in enumerate(spec.tls):
        for number, match in enumerate(route.match):
            yield from _sni(match, hosts, (*SPEC, "tls", index, "match", number))
    for protocol in ("http", "tls", "tcp"):
        yield from reach.unreachable(getattr(spec, protocol), (*SPEC, protocol))


def _hosts(spec: Any, meshed: bool) -> Iterator[Finding]:
    """Names, addresses or wildcards, none within another; none at all makes it a delegate."""
    if not spec.hosts:
        why = "without hosts: the object is a delegate"
        yield from forbidden(spec, SPEC, why, "gateways", "tls", "tcp")
    earlier = values.Hosts()
    for index, host in enumerate(spec.hosts):
        at = (*SPEC, "hosts", index)
        if host == "*" and meshed:
            message = "'*' is only allowed for gateways; name hosts, or gateways without 'mesh'"
            yield Finding(at, "host", message)
        elif values.ip(host) is not None:
            yield from when(values.wildcard(host), at, "host")
        other = earlier.covering(host) or earlier.covered(host)
        if other is not None:
            yield Finding(at, "duplicate-host", f"{host!r} and {other!r} cover each other")
        earlier.add(host)


def _claims(match: Any, gateways: Sequence[str], at: Path) -> Iterator[Finding]:
    """Claims of a JWT are known at gateways only."""
    for field in ("headers", "without_headers"):
        for key in getattr(match, field):
            if key.startswith(_CLAIMS) and MESH in gateways:
                where = (*at, json_name(match, field), key)
                yield Finding(where, "jwt-claim", f"{key!r} can only be matched at gateways")


def _sni(match: Any, hosts: values.Hosts, at: Path) -> Iterator[Finding]:
    """Each server name is within the object's hosts."""
    for index, sni in enumerate(match.sni_hosts):
        here = (*at, "sniHosts", index)
        if values.ip(sni) is None:
            yield warning(here, "sni", f"{sni!r} is an address; clients do not send those as SNI")
            continue
        yield from when(values.wildcard(sni), here, "host")
        if hosts.covering(sni) is None:
            yield Finding(here, "sni", f"{sni!r} is not within the hosts of the object")


def _l4_route(route: Any, at: Path) -> Iterator[Finding]:
    if not route.route:
        yield required((*at, "route"), "route")
    yield from http_route.weights(route.route, (*at, "route"))


def _l4_match(match: Any, at: Path) -> Iterator[Finding]:
    yield from common.labels(match.source_labels, (*at, "sourceLabels"))
    yield from common.gateway_names(match.gateways, (*at, "gateways"))


_PACKAGE = "istio.networking.v1alpha3"

FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            "Destination.host": ("host", values.named_host),
            "PortSelector.number": ("port", values.port),
            "RouteDestination.weight": ("weight", values.not_negative),
            "L4MatchAttributes.port": ("port", values.port),
            "L4MatchAttributes.source_namespace": ("namespace", dns_label),
            "L4MatchAttributes.destination_subnets": ("cidr", values.cidr),
            "L4MatchAttributes.source_subnet": ("cidr", values.cidr),
            "TLSMatchAttributes.port": ("port", values.port),
            "TLSMatchAttributes.source_namespace": ("namespace", dns_label),
            "TLSMatchAttributes.source_subnet": ("cidr", values.cidr),
            "TLSMatchAttributes.destination_subnets": ("cidr", values.cidr),
        },
    ),
    messages=prefixed(
        _PACKAGE,
        {
            "TLSRoute": _l4_route,
            "TCPRoute": _l4_route,
            "L4MatchAttributes": _l4_match,
            "TLSMatchAttributes": _l4_match,
        },
    ),
    objects={"VirtualService": _object},
)
