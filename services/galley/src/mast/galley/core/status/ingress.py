"""Statuses of Ingresses that the mesh serves: where its gateway is reached (D3).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.common.kubernetes.objects import Object

CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
CONTROLLER: Final = "istio.io/ingress-controller"

_DEFAULT_CLASS: Final = "istio"
_DEFAULT_SERVICE: Final = "istio-ingressgateway"

Points = Sequence[Mapping[str, str]]


def service_name(mesh: MeshConfig) -> str:
    """The Service of the gateway, in the namespace of the mesh (MeshConfig, "ingressService")."""
    return str(mesh.ingress_service) or _DEFAULT_SERVICE


def is_ours(
    ingress: Object, mesh: MeshConfig, ingress_class: Callable[[str], Object | None]
) -> bool:
    """By annotation, else by a class that exists, else if the mesh takes Ingresses without any."""
    if mesh.ingress_controller_mode == MeshConfig.OFF:
        return False
    annotation = (ingress["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
    if annotation is not None:
        return bool(annotation == (mesh.ingress_class or _DEFAULT_CLASS))
    named = (ingress.get("spec") or {}).get("ingressClassName")
    found = ingress_class(named) if named else None
    if found is not None:
        return bool((found.get("spec") or {}).get("controller") == CONTROLLER)
    return mesh.ingress_controller_mode == MeshConfig.DEFAULT


def load_balancer(service: Object | None) -> Points:
    """``loadBalancer.ingress``: where a gateway's Service is reached from outside, in order.

    An ExternalName is its host; else the load balancer's addresses and ``externalIPs`` count.
    """
    spec = (service or {}).get("spec") or {}
    if spec.get("type") == "ExternalName":
        return _points([str(spec.get("externalName") or "")])
    balanced = ((service or {}).get("status") or {}).get("loadBalancer") or {}
    given = [str(each.get("ip") or each.get("hostname")) for each in balanced.get("ingress") or ()]
    return _points([*given, *map(str, spec.get("externalIPs") or ())])


def reached(status: Mapping[str, Any], wanted: Points) -> Mapping[str, Any] | None:
    """The merge patch that makes a status tell these addresses, None if it does.

    Ports and whatever else is said of an address that stays are kept.
    """
    found = list((status.get("loadBalancer") or {}).get("ingress") or ())
    if [_address(each) for each in found] == [_address(each) for each in wanted]:
        return None
    known = {_address(each): each for each in found}
    return {"loadBalancer": {"ingress": [known.get(_address(each), each) for each in wanted]}}


def _address(point: Mapping[str, Any]) -> str:
    return str(point.get("ip") or point.get("hostname"))


def _points(addresses: Sequence[str]) -> Points:
    found = dict.fromkeys(each for each in addresses if each)
    return [{"ip" if _is_ip(each) else "hostname": each} for each in sorted(found)]


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
