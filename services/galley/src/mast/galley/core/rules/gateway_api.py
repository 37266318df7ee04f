"""GatewayClass, Gateway, ReferenceGrant, BackendTLSPolicy (Gateway API; pilot.md I8).

What is not implemented is refused with a reason: a stored Gateway can be served.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mast.galley.core.metadata import dns_subdomain, label_key
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import values
from mast.galley.core.rules.kubernetes import (
    GATEWAY_API,
    PACKAGE,
    hostname,
    kind,
    named_entries,
    precise_hostname,
    section,
    sized,
    targets,
)
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

TERMINATE_MODE = "gateway.istio.io/tls-terminate-mode"
"""Option of a listener's TLS: how clients are verified (Istio)."""

# Protocol of listeners that are none of ours: objects for several meshes are not refused.
_WAYPOINT = "HBONE"
_CONTROLLER = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9/._~%!$&'()*+,;=:-]+")
_ROUTES = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TLS": ("TLSRoute", "TCPRoute"),
    "TCP": ("TCPRoute",),
}
_TLS = frozenset({"HTTPS", "TLS"})
_HOSTLESS = frozenset({"TCP"})
_SECRET = {("", "Secret"): "Secret"}
_CA = {("", "ConfigMap"): "ConfigMap", ("", "Secret"): "Secret"}
_CONFIG_MAP = {("", "ConfigMap"): "ConfigMap"}
_SERVICE = {("", "Service"): "Service"}
# Without certificates of its own.
_MESH_CERTIFICATE = "ISTIO_MUTUAL"


def _controller(text: str) -> str | None:
    if len(text) <= 253 and _CONTROLLER.fullmatch(text):
        return None
    return f"{text!r} is not a controller; write a path under a domain, such as a.com/controller"


def _protocol(text: str) -> str | None:
    return None if text == _WAYPOINT else values.one_of(*_ROUTES)(text)


def _class(obj: ConfigObject) -> Iterator[Finding]:
    if len(obj.spec.description) > 64:
        message = f"text has {len(obj.spec.description)} characters; allowed: 64"
        yield Finding((*SPEC, "description"), "size", message)


def _gateway(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    if len(obj.meta.name) > 63:
        message = f"name has {len(obj.meta.name)} characters; allowed: 63, it becomes a label"
        yield Finding(("metadata", "name"), "name", message)
    at = (*SPEC, "listeners")
    seen: dict[tuple[int, str, str], str] = {}
    for index, listener in enumerate(spec.listeners):
        key = (listener.port, listener.protocol, listener.hostname)
        if key in seen:
            message = f"port, protocol and hostname are those of listener {seen[key]!r}"
            yield Finding((*at, index), "duplicate", message)
        seen.setdefault(key, listener.name)


def _gateway_spec(spec: Any, at: Path) -> Iterator[Finding]:
    yield from named_entries(spec, at, "listeners")
    if spec.allowed_listeners.namespaces.HasField("selector") or (
        getattr(spec.allowed_listeners.namespaces, "from") not in {"", "None"}
    ):
        message = "'allowedListeners' is not supported: write all listeners into the Gateway"
        yield Finding((*at, "allowedListeners"), "unsupported", message)


def _address(address: Any, at: Path) -> Iterator[Finding]:
    if address.type in {"", "IPAddress"}:
        if address.value:
            yield from when(values.ip(address.value), (*at, "value"), "address")
        message = "an IPAddress is not supported; name the Service of the proxies as Hostname"
        yield Finding((*at, "type"), "unsupported", message)
    elif not address.value:
        yield required((*at, "value"), "value")
    elif address.type == "Hostname":
        host = address.value if "." in address.value else f"{address.value}.svc"
        yield from when(precise_hostname(host), (*at, "value"), "host")


def _listener(listener: Any, at: Path) -> Iterator[Finding]:
    """What goes with a protocol (Gateway API Listener)."""
    protocol = listener.protocol
    if protocol == _WAYPOINT:
        message = f"{_WAYPOINT} is for waypoints of ambient meshes; nothing listens here"
        yield warning((*at, "protocol"), "without-effect", message)
    if protocol in _HOSTLESS:
        yield from forbidden(listener, at, f"for protocol {protocol}", "hostname")
    if protocol in _ROUTES and protocol not in _TLS:
        yield from forbidden(listener, at, f"for protocol {protocol}", "tls")
    if protocol in _TLS:
        yield from _listener_tls(listener, (*at, "tls"))
    for index, each in enumerate(listener.allowed_routes.kinds):
        fitting = _ROUTES.get(protocol, ())
        group = each.group or GATEWAY_API
        if fitting and (group != GATEWAY_API or each.kind not in fitting):
            message = f"{group}/{each.kind} does not fit {protocol}; allowed: {', '.join(fitting)}"
            yield Finding((*at, "allowedRoutes", "kinds", index), "route-kind", message)


def _listener_tls(listener: Any, at: Path) -> Iterator[Finding]:
    tls = listener.tls
    if not is_set(listener, "tls"):
        yield required(at, "tls")
    elif tls.mode == "Passthrough":
        if listener.protocol == "HTTPS":
            message = "'Passthrough' is not allowed for protocol HTTPS; use protocol TLS"
            yield Finding((*at, "mode"), "not-allowed", message)
        why = "in mode Passthrough"
        yield from forbidden(tls, at, why, "certificate_refs", "frontend_validation", "options")
    elif tls.options.get(TERMINATE_MODE) == _MESH_CERTIFICATE:
        why = f"with {TERMINATE_MODE} {_MESH_CERTIFICATE}"
        yield from forbidden(tls, at, why, "certificate_refs", "frontend_validation")
    elif not tls.certificate_refs:
        yield required((*at, "certificateRefs"), "certificateRefs")


def _tls_options(tls: Any, at: Path) -> Iterator[Finding]:
    for key, value in tls.options.items():
        here = (*at, "options", key)
        if key == TERMINATE_MODE:
            modes = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", _MESH_CERTIFICATE)
            yield from when(values.one_of(*modes)(value), here, "tls-mode")
        else:
            message = f"option {key!r} is unknown; allowed: {TERMINATE_MODE}"
            yield Finding(here, "unsupported", message)
    if TERMINATE_MODE in tls.options and is_set(tls, "frontend_validation"):
        message = f"not together with option {TERMINATE_MODE}"
        yield Finding((*at, "frontendValidation"), "one-of", message)


def _certificate(reference: Any, at: Path) -> Iterator[Finding]:
    yield from targets(reference, at, _SECRET, default=("", "Secret"))


def _frontend_validation(validation: Any, at: Path) -> Iterator[Finding]:
    for index, reference in enumerate(validation.ca_certificate_refs):
        here = (*at, "caCertificateRefs", index)
        yield from targets(reference, here, _CA, default=("", ""))
        if index:
            message = "more than one reference is not supported: put the certificates together"
            yield Finding(here, "unsupported", message)


def _gateway_tls(tls: Any, at: Path) -> Iterator[Finding]:
    yield from named_entries(tls.frontend, (*at, "frontend"), "per_port", key="port")


def _namespaces(namespaces: Any, at: Path) -> Iterator[Finding]:
    chosen = getattr(namespaces, "from")
    if chosen == "Selector" and not is_set(namespaces, "selector"):
        yield required((*at, "selector"), "selector")
    elif chosen != "Selector":
        yield from forbidden(namespaces, at, "unless from is Selector", "selector")


def _policy_target(target: Any, at: Path) -> Iterator[Finding]:
    yield from targets(target, at, _SERVICE, default=("", ""))


def _policy(obj: ConfigObject) -> Iterator[Finding]:
    """A Service and port is targeted once; a whole Service not beside its ports."""
    seen: set[tuple[str, str]] = set()
    for index, target in enumerate(obj.spec.target_refs):
        key = (target.name, target.section_name)
        same = [port for name, port in seen if name == target.name]
        if key in seen or (same and ("" in same or not target.section_name)):
            message = f"Service {target.name!r} is targeted twice; give each port once"
            yield Finding((*SPEC, "targetRefs", index), "duplicate", message)
        seen.add(key)


def _validation(validation: Any, at: Path) -> Iterator[Finding]:
    names = ("ca_certificate_refs", "well_known_ca_certificates")
    if not any(is_set(validation, each) for each in names):
        yield required(at, "caCertificateRefs", "wellKnownCACertificates")
    yield from exclusive(validation, at, *names)
    for index, reference in enumerate(validation.ca_certificate_refs):
        here = (*at, "caCertificateRefs", index)
        yield from targets(reference, here, _CONFIG_MAP, default=("", ""))
        if index:
            message = "more than one reference is not supported: put the certificates together"
            yield Finding(here, "unsupported", message)


def _alt_name(name: Any, at: Path) -> Iterator[Finding]:
    wanted, other = ("hostname", "uri") if name.type == "Hostname" else ("uri", "hostname")
    if not is_set(name, wanted):
        yield required((*at, wanted), wanted)
    yield from forbidden(name, at, f"with type {name.type}", other)


FAMILY = Family(
    fields=prefixed(
        PACKAGE,
        {
            "GatewayClassSpec.controller_name": ("controller", _controller),
            "GatewaySpec.gateway_class_name": ("name", dns_subdomain),
            "GatewayAddress.type": ("address", values.one_of("Hostname", "IPAddress")),
            "ListenerNamespaces.from": (
                "namespaces",
                values.one_of("None", "Same", "All", "Selector"),
            ),
            "TLSPortConfig.port": ("port", values.port),
            "FrontendTLSValidation.mode": (
                "tls-mode",
                values.one_of("AllowValidOnly", "AllowInsecureFallback"),
            ),
            "Listener.name": ("name", section),
            "Listener.hostname": ("host", hostname),
            "Listener.port": ("port", values.port),
            "Listener.protocol": ("protocol", _protocol),
            "ListenerTLSConfig.mode": ("tls-mode", values.one_of("Terminate", "Passthrough")),
            "RouteNamespaces.from": ("namespaces", values.one_of("Same", "All", "Selector")),
            "RouteGroupKind.kind": ("kind", kind),
            "ReferenceGrantFrom.kind": ("kind", kind),
            "ReferenceGrantFrom.namespace": ("namespace", dns_subdomain),
            "PolicyTargetReference.section_name": ("name", section),
            "BackendTLSPolicyValidation.hostname": ("host", precise_hostname),
            "BackendTLSPolicyValidation.well_known_ca_certificates": (
                "certificates",
                values.one_of("System"),
            ),
            "SubjectAltName.type": ("name-type", values.one_of("Hostname", "URI")),
            "SubjectAltName.hostname": ("host", hostname),
            "SubjectAltName.uri": ("uri", values.at_most(253)),
        },
    ),
    keys=prefixed(
        PACKAGE,
        {
            "GatewayInfrastructure.labels": ("label", label_key),
            "GatewayInfrastructure.annotations": ("annotation", label_key),
        },
    ),
    messages=prefixed(
        PACKAGE,
        {
            "GatewaySpec": sized({"listeners": (1, 64), "addresses": (1, 1)}, _gateway_spec),
            "GatewayAddress": _address,
            "GatewayInfrastructure": sized({"labels": (0, 8), "annotations": (0, 8)}),
            "GatewayTLSConfig": _gateway_tls,
            "FrontendTLSConfig": sized({"per_port": (0, 64)}),
            "FrontendTLSValidation": sized({"ca_certificate_refs": (1, 8)}, _frontend_validation),
            "Listener": _listener,
            "ListenerTLSConfig": sized(
                {"certificate_refs": (0, 64), "options": (0, 16)}, _tls_options
            ),
            "CertificateReference": _certificate,
            "AllowedRoutes": sized({"kinds": (0, 8)}),
            "RouteNamespaces": _namespaces,
            "ReferenceGrantSpec": sized({"from": (1, 16), "to": (1, 16)}),
            "BackendTLSPolicySpec": sized({"target_refs": (1, 16)}),
            "PolicyTargetReference": _policy_target,
            "BackendTLSPolicyValidation": sized(
                {"ca_certificate_refs": (0, 8), "subject_alt_names": (0, 5)}, _validation
            ),
            "SubjectAltName": _alt_name,
        },
    ),
    objects={
        "GatewayClass": _class,
        f"{GATEWAY_API}/Gateway": _gateway,
        "BackendTLSPolicy": _policy,
    },
    unsupported=prefixed(
        PACKAGE,
        {
            "GatewayTLSConfig.backend": "gateways show no certificate to backends",
            "BackendTLSPolicySpec.options": "no option is known",
        },
    ),
    # What is for a controller that deploys proxies is kept.
    without_effect=prefixed(
        PACKAGE,
        {
            "GatewayClassSpec.parameters_ref": "classes have no parameters",
            "GatewaySpec.infrastructure": "nothing is deployed for a Gateway",
        },
    ),
)
