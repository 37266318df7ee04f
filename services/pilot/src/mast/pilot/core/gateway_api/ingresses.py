"""Ingresses: a Gateway each, and a VirtualService per host (pilot.md I7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.gateway_pb2 import Gateway, Port, Server, ServerTLSSettings
from istio.networking.v1alpha3.virtual_service_pb2 import (
    Destination,
    HTTPMatchRequest,
    HTTPRoute,
    HTTPRouteDestination,
    PortSelector,
    StringMatch,
    VirtualService,
)
from mast.pilot.core.gateway_api import generated
from mast.pilot.core.gateway_api.listeners import EVERY_HOST
from mast.pilot.core.gateway_api.rules import Rule, ordered, precedence, rule
from mast.pilot.core.gateway_api.sight import Sight
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Config, ConfigMeta, Labels
from mastapi.kubernetes.v1.ingress_pb2 import HTTPIngressPath, IngressBackend, IngressSpec

CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
CONTROLLER: Final = "istio.io/ingress-controller"

_LABEL: Final = "istio"
_DEFAULT_SELECTOR: Final = "ingressgateway"
_DEFAULT_SERVICE: Final = "istio-ingressgateway"
_SUFFIXES: Final = (".*", "/*")


@dataclass(frozen=True, slots=True)
class TranslatedIngress:
    """The Gateway of an Ingress, and its rules by host."""

    meta: ConfigMeta
    gateway: Config[Gateway]
    rules: dict[str, tuple[Rule, ...]]


def translated_ingress(sight: Sight, config: Config[IngressSpec]) -> TranslatedIngress | None:
    """An Ingress in Istio's terms, None if it is not ours (pilot.md I7)."""
    mesh = sight.mesh
    if not _is_ours(sight, config, mesh):
        return None
    name = generated.ingress_gateway_name(config.meta.name, config.meta.namespace)
    spec = Gateway(servers=_servers(config), selector=_selector(mesh))
    gateway = generated.gateway(config.meta, mesh.root_namespace, name, spec)
    return TranslatedIngress(config.meta, gateway, dict(_hosts(sight, config)))


def merged_host(host: str, ingresses: Sequence[TranslatedIngress]) -> Config[VirtualService] | None:
    """The VirtualService of a host: the rules of all Ingresses, at the Gateway of the oldest.

    Exact paths come first, then longer prefixes before shorter ones; of equal ones the oldest
    Ingress wins (pilot.md I7).
    """
    oldest = min(ingresses, key=lambda each: each.meta.age)
    http = ordered((each.meta, each.rules.get(host, ())) for each in ingresses)
    if not http:
        return None
    gateway = oldest.gateway.meta
    spec = VirtualService(hosts=[host], gateways=[f"{gateway.namespace}/{gateway.name}"], http=http)
    name = generated.ingress_service_name(oldest.meta.name, host)
    semantics = generated.INGRESS_SEMANTICS
    return generated.virtual_service(oldest.meta, name, spec, semantics=semantics)


def _is_ours(sight: Sight, config: Config[IngressSpec], mesh: Mesh) -> bool:
    """By annotation, else by a class that exists, else if the mesh takes Ingresses without any."""
    mode = mesh.config.ingress_controller_mode
    if mode == MeshConfig.OFF:
        return False
    annotation = config.meta.annotations.get(CLASS_ANNOTATION)
    if annotation is not None:
        return annotation == mesh.config.ingress_class
    if config.spec.HasField("ingress_class_name"):
        name = ("", config.spec.ingress_class_name)
        found = sight.object(collection_names.INGRESS_CLASSES, name)
        if found is not None:
            return bool(found.spec.controller == CONTROLLER)
    return mode == MeshConfig.DEFAULT


def _selector(mesh: Mesh) -> Labels:
    """Labels of the routers that serve Ingresses (MeshConfig ingressSelector, ingressService)."""
    service = mesh.config.ingress_service
    named = service if service != _DEFAULT_SERVICE else ""
    return {_LABEL: mesh.config.ingress_selector or named or _DEFAULT_SELECTOR}


def _servers(config: Config[IngressSpec]) -> Iterator[Server]:
    """Port 80 for every host, port 443 for each certificate."""
    yield Server(port=Port(number=80, protocol="HTTP", name="http"), hosts=[EVERY_HOST])
    for index, each in enumerate(config.spec.tls):
        if each.secret_name:
            tls = ServerTLSSettings(mode=ServerTLSSettings.SIMPLE, credential_name=each.secret_name)
            name = f"https-443-ingress-{config.meta.name}-{config.meta.namespace}-{index}"
            port = Port(number=443, protocol="HTTPS", name=name)
            yield Server(port=port, hosts=each.hosts or [EVERY_HOST], tls=tls)


def _hosts(sight: Sight, config: Config[IngressSpec]) -> Iterator[tuple[str, tuple[Rule, ...]]]:
    """Rules by host; as in Istio the default backend counts for nothing (D3).

    Section numbers are those of galley-and-kubernetes.md.
    """
    found: dict[str, list[Rule]] = {}
    for each in config.spec.rules:
        rules = found.setdefault(each.host or EVERY_HOST, [])
        for path in each.http.paths:
            match = HTTPMatchRequest(uri=_path(path))
            rules.append(_rule(sight, config.meta, match, path.backend))
    return ((host, tuple(rules)) for host, rules in found.items())


def _path(path: HTTPIngressPath) -> StringMatch:
    """`*` at the end of an ImplementationSpecific path stands for anything (pilot.md I7)."""
    if path.path_type == "Prefix":
        return StringMatch(prefix=path.path or "/")
    if path.path_type == "Exact":
        return StringMatch(exact=path.path)
    for suffix in _SUFFIXES:
        if path.path.endswith(suffix):
            return StringMatch(prefix=path.path.removesuffix(suffix) or "/")
    return StringMatch(exact=path.path) if path.path else StringMatch(prefix="/")


def _rule(sight: Sight, meta: ConfigMeta, match: HTTPMatchRequest, backend: IngressBackend) -> Rule:
    destination = _destination(sight, meta, backend)
    action = HTTPRoute(route=[HTTPRouteDestination(destination=destination)])
    return rule("", action, match, precedence(match))


def _destination(sight: Sight, meta: ConfigMeta, backend: IngressBackend) -> Destination:
    """A service port by number or name; a name that the service does not have leads nowhere."""
    service = backend.service
    host = sight.host((meta.namespace, service.name))
    number = service.port.number
    if service.port.name:
        found = sight.service(host)
        ports = found.ports if found else ()
        number = next((each.number for each in ports if each.name == service.port.name), 0)
    return Destination(host=host, port=PortSelector(number=number))
