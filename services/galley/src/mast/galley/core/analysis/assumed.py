"""What files leave out because an installation has it anyway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.mesh import MESH
from mast.galley.core.analysis.snapshot import SUPPRESS, Item, Snapshot
from mast.galley.core.analysis.workloads import WORKLOADS

_LABELS = {"app": "istio-ingressgateway", "istio": "ingressgateway"}
_NAME = "istio-ingressgateway"
# Nobody wrote it, so nobody is told what could be better about it.
_QUIET = {SUPPRESS: "*"}
_PORTS = (
    {"name": "status-port", "port": 15021},
    {"name": "http2", "port": 80, "targetPort": 8080},
    {"name": "https", "port": 443, "targetPort": 8443},
    {"name": "tls", "port": 15443},
)


def completed(items: Iterable[Item]) -> list[Item]:
    """The objects, with the usual ingress gateway unless there is one or the mesh is without."""
    given = list(items)
    return [*given, *_ingress_gateway(Snapshot(given))]


def _ingress_gateway(snapshot: Snapshot) -> Iterator[Item]:
    mesh = snapshot.fact(MESH)
    settings = mesh.settings
    off = mesh.item is not None and settings.ingress_controller_mode == settings.OFF
    if off or snapshot.fact(WORKLOADS).has({"istio": _LABELS["istio"]}):
        return
    namespace = mesh.root_namespace
    proxy = {"spec": {"containers": [{"name": "istio-proxy"}]}}
    service = {"spec": {"selector": _LABELS, "ports": list(_PORTS)}}
    yield Item(kinds.POD, namespace, _NAME, _LABELS, _QUIET, proxy)
    yield Item(kinds.SERVICE, namespace, _NAME, _LABELS, _QUIET, service)
