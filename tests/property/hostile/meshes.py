"""A mesh in which drawn objects mean something, and the proxies that are told of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import Node

from mast.common.identity.spiffe import SpiffeId
from mast.common.kinds import BY_COLLECTION
from mast.galley.core.objects import ConfigObject
from mast.pilot.core.gateway_api.gateways import GATEWAY_NAME
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.world.world import World
from mast.pilot.core.xds import registration
from tests.property.hostile.addresses import API, MIXER, ONE, TWO
from tests.support.accepted import Candidate, accepted, stored
from tests.support.golden_view import Resources, resources_of
from tests.support.mesh_yaml import Put, sidecar_proxy

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def _router(namespace: str, ip: str, labels: Mapping[str, str]) -> Node:
    node = Node(id=f"router~{ip}~gate-1.{namespace}~{namespace}.svc.cluster.local")
    node.metadata.update({"NAMESPACE": namespace, "LABELS": dict(labels)})
    return node


PROXIES: Final[Mapping[str, Proxy]] = {
    "redirect": sidecar_proxy("shop", labels={"app": "one"}),
    "none": sidecar_proxy(
        "shop",
        ip="127.1.0.8",
        labels={"app": "two", "version": "v1"},
        INTERCEPTION_MODE="NONE",
        OUTBOUND_BIND="127.2.0.8",
        HTTP_PROXY_PORT="15080",
        APP_ENDPOINTS={"80": "127.0.0.1:43121", "81": "127.0.0.1:43122", "443": "unix://@app"},
        DNS_CAPTURE="true",
        AUTO_REGISTER_GROUP="one",
    ),
    "tproxy": sidecar_proxy(
        "web",
        ip="10.1.0.9",
        labels={"app": "two", "version": "v1"},
        INTERCEPTION_MODE="TPROXY",
        INSTANCE_IPS="10.1.0.9,2001:db8::9",
        DNS_CAPTURE="true",
        HTTP10="1",
        IDLE_TIMEOUT="30s",
        ANNOTATIONS={"policy.istio.io/check": "enable"},
    ),
    "ipv6": sidecar_proxy("web", ip="2001:db8::1", labels={"version": "v1"}, CLUSTER_ID="east"),
    "router": parse(
        _router("shop", "10.1.0.11", {"istio": "ingressgateway", GATEWAY_NAME: "gate"})
    ),
}
"""Of all ways to meet traffic, and of all families of addresses."""


class Mesh:
    """Services that every proxy calls and serves some of; other objects join them for a while."""

    def __init__(self) -> None:
        base = accepted(_BASE)
        assert len(base) == len(_BASE)
        self._world = World()
        self._world.apply(stored(base))
        self._revisions = count(1)

    def resources(self, objects: Sequence[ConfigObject], proxy: Proxy) -> Resources:
        """All that a proxy gets of the objects too; those that register are there with their group.

        The objects are gone afterwards. What does not depend on them is made only once.
        """
        puts = [*stored(objects), *_registered(objects)]
        rejections = self._world.apply(puts)
        assert not rejections, rejections
        try:
            return resources_of(self._world.snapshot(next(self._revisions)).view(proxy))
        finally:
            self._world.apply(Put(each.key, None) for each in puts)


def _registered(objects: Iterable[ConfigObject]) -> Iterator[Put]:
    for obj in objects:
        for proxy in PROXIES.values():
            group = (proxy.namespace, proxy.text(registration.GROUP))
            if obj.kind.name == "WorkloadGroup" and group == (obj.meta.namespace, obj.meta.name):
                account = obj.spec.template.service_account or "default"
                # Nobody has a certificate with an account that is no part of a SPIFFE ID.
                with suppress(ValueError):
                    identity = SpiffeId("cluster.local", proxy.namespace, account)
                    made = registration.workload(proxy, identity, obj.spec, "pilot-1", _NOW)
                    yield Put(registration.key(made), made.SerializeToString())


def _service(
    namespace: str, name: str, host: str, ports: Mapping[int, str], **more: Any
) -> Candidate:
    spec = {
        "hosts": [host],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [
            {"number": number, "name": f"{protocol.lower()}-{number}", "protocol": protocol}
            for number, protocol in ports.items()
        ],
        **more,
    }
    return Candidate(BY_COLLECTION[collection_names.SERVICE_ENTRIES], namespace, name, spec)


_V1 = {"version": "v1"}
_BASE = (
    _service(
        *("shop", "base-one", ONE),
        {80: "HTTP", 81: "TCP", 443: "TLS", 9090: "GRPC"},
        workloadSelector={"labels": {"app": "one"}},
        addresses=["10.96.0.1"],
    ),
    _service(
        *("web", "base-two", TWO),
        {80: "HTTP", 81: "TCP", 82: "HTTP2"},
        endpoints=[
            {"address": "10.1.0.9", "labels": {"app": "two", **_V1}, "serviceAccount": "b"},
            {"address": "2001:db8::9", "labels": _V1, "locality": "eu/a/b"},
        ],
    ),
    _service(*("web", "base-api", API), {80: "HTTP", 443: "HTTPS", 81: "TCP"}, resolution="DNS"),
    _service(
        *("istio-system", "base-mixer", MIXER),
        {15004: "GRPC"},
        endpoints=[{"address": "10.1.0.250"}],
    ),
    Candidate(
        BY_COLLECTION[collection_names.WORKLOAD_ENTRIES],
        "shop",
        "base-workload",
        {"address": "10.1.0.7", "labels": {"app": "one"}, "serviceAccount": "a"},
    ),
)
