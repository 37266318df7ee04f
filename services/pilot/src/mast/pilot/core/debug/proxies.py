"""What one proxy sees and serves, as JSON (pilot.md M1)."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict

from istio.networking.v1alpha3.sidecar_pb2 import OutboundTrafficPolicy
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.egress import Egress
from mast.pilot.core.scope.memo import Reads
from mast.pilot.core.world.snapshot import MeshSnapshot


def sidecar_scope(snapshot: MeshSnapshot, proxy: Proxy) -> Mapping[str, Any]:
    """Services and VirtualServices that a proxy sees, by egress listener (pilot.md D11)."""
    scope = snapshot.view(proxy).scope(Reads())
    sidecar, policy = scope.sidecar, scope.outbound_policy
    mode = OutboundTrafficPolicy.Mode.Name(policy.mode)
    return {
        "namespace": proxy.namespace,
        "sidecar": "" if sidecar is None else f"{sidecar.meta.namespace}/{sidecar.meta.name}",
        "outboundTrafficPolicy": {**MessageToDict(policy), "mode": mode},
        "egressListeners": [_egress(each) for each in scope.egress],
    }


def served(snapshot: MeshSnapshot, proxy: Proxy) -> Sequence[Mapping[str, Any]]:
    """Service ports that the workload of a proxy serves."""
    return [
        {
            "service": each.service.host,
            "namespace": each.service.namespace,
            "port": each.port,
            "targetPort": each.target_port,
        }
        for each in snapshot.view(proxy).audience.served
    ]


def _egress(egress: Egress) -> Mapping[str, Any]:
    governing = {
        each.host: f"{config.meta.namespace}/{config.meta.name}"
        for each in egress.services()
        if (config := egress.virtual_service(each.host)) is not None
    }
    governing |= {
        host: f"{config.meta.namespace}/{config.meta.name}" for host, config in egress.standalone()
    }
    return {
        "listener": {} if egress.listener is None else MessageToDict(egress.listener),
        "services": [
            {
                "host": each.host,
                "namespace": each.namespace,
                "ports": [port.number for port in each.ports],
            }
            for each in egress.services()
        ],
        "virtualServices": governing,
    }
