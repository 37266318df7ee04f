"""Ingress and IngressClass of Kubernetes (networking.k8s.io/v1; pilot.md I7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mast.galley.core.metadata import dns_label, dns_subdomain
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import values
from mast.galley.core.rules.kubernetes import PACKAGE, PATH_LIMIT, hostname
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

_BYPASSED = (".*", "/*")


def _ingress(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    if not (is_set(spec, "default_backend") or spec.rules):
        yield required(SPEC, "defaultBackend", "rules")
    if is_set(spec, "default_backend"):
        message = "the default backend is ignored; write a VirtualService for the host '*'"
        yield warning((*SPEC, "defaultBackend"), "without-effect", message)
    if obj.meta.annotations.get("kubernetes.io/ingress.class") and spec.ingress_class_name:
        message = "the annotation kubernetes.io/ingress.class wins over 'ingressClassName'"
        yield warning((*SPEC, "ingressClassName"), "without-effect", message)


def _tls(tls: Any, at: Path) -> Iterator[Finding]:
    if not tls.secret_name:
        message = "an entry without 'secretName' has no effect: there is no default certificate"
        yield warning((*at, "secretName"), "without-effect", message)


def _rule(rule: Any, at: Path) -> Iterator[Finding]:
    if not is_set(rule, "http"):
        message = "a rule without 'http' has no effect: the default backend is ignored"
        yield warning((*at, "http"), "without-effect", message)


def _path(path: Any, at: Path) -> Iterator[Finding]:
    here = (*at, "path")
    text = path.path
    bypassed = path.path_type == "ImplementationSpecific" and text in {"", *_BYPASSED}
    if not text and path.path_type in {"Exact", "Prefix"}:
        yield required(here, "path")
    elif not text.startswith("/") and not bypassed:
        yield Finding(here, "path", f"path {text!r} must begin with '/'")
    elif len(text) > PATH_LIMIT:
        yield Finding(here, "path", f"path has {len(text)} characters; allowed: {PATH_LIMIT}")
    yield from when(values.header_text(text), here, "path")


def _backend(backend: Any, at: Path) -> Iterator[Finding]:
    if not is_set(backend, "resource") and not is_set(backend, "service"):
        yield required((*at, "service"), "service")


def _port(port: Any, at: Path) -> Iterator[Finding]:
    yield from exclusive(port, at, "name", "number")
    if not (port.name or port.number):
        yield required(at, "name", "number")


def _parameters(parameters: Any, at: Path) -> Iterator[Finding]:
    if parameters.scope == "Namespace" and not parameters.namespace:
        yield required((*at, "namespace"), "namespace")
    elif parameters.scope != "Namespace":
        yield from forbidden(parameters, at, "unless scope is Namespace", "namespace")


def _controller(text: str) -> str | None:
    domain, slash, rest = text.partition("/")
    if slash and rest and len(text) <= 250 and dns_subdomain(domain) is None:
        return None
    return f"{text!r} is not a controller; write a path under a domain, such as a.com/controller"


FAMILY = Family(
    fields=prefixed(
        PACKAGE,
        {
            "IngressSpec.ingress_class_name": ("name", dns_subdomain),
            "IngressTLS.hosts": ("host", hostname),
            "IngressTLS.secret_name": ("name", dns_subdomain),
            "IngressRule.host": ("host", hostname),
            "HTTPIngressPath.path_type": (
                "path-type",
                values.one_of("Exact", "Prefix", "ImplementationSpecific"),
            ),
            "IngressServiceBackend.name": ("name", dns_label),
            "ServiceBackendPort.name": ("port", values.port_name),
            "ServiceBackendPort.number": ("port", values.port),
            "IngressClassSpec.controller": ("controller", _controller),
            "IngressClassParametersReference.scope": (
                "scope",
                values.one_of("Cluster", "Namespace"),
            ),
        },
    ),
    messages=prefixed(
        PACKAGE,
        {
            "IngressTLS": _tls,
            "IngressRule": _rule,
            "HTTPIngressPath": _path,
            "IngressBackend": _backend,
            "ServiceBackendPort": _port,
            "IngressClassParametersReference": _parameters,
        },
    ),
    objects={"Ingress": _ingress},
    unsupported={f"{PACKAGE}.IngressBackend.resource": "name a Service"},
    without_effect={f"{PACKAGE}.IngressClassSpec.parameters": "classes have no parameters"},
)
