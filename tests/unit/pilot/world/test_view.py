"""What a change reaches: exactly the resources it should, all others stay the same objects."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

import pytest

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.xds.resources import CDS, EDS, LDS, NDS, RDS, SHORT_NAMES, Resource
from tests.support.mesh_yaml import Put, changes, sidecar_proxy, world
from tests.support.view_mesh import HTTP, MESH, MESH_A, TCP, WEB, config

ROUTES = ("80", "http_proxy")


SHARD = """
apiVersion: registry.mast/v1
kind: EndpointShard
metadata: {{name: a}}
spec:
  host: {host}.shop.svc.cluster.local
  namespace: shop
  shard: east
  endpoints:
  - address: 10.1.0.1
    ports: {{http: 8080, tcp: 8082}}
    service_account: a
    namespace: shop
    tls_mode: istio
  - address: 10.1.0.2
    ports: {{http: 8080, tcp: 8082}}
    service_account: {account}
    namespace: shop
    tls_mode: istio
"""


LIMIT = "trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}"


TABLE = {
    "endpoint": (
        SHARD.format(host="a", account="a"),
        {"eds outbound|80||a.*"},
    ),
    "endpoint-with-a-new-account": (
        SHARD.format(host="a", account="other"),
        {"eds outbound|80||a.*", "cds outbound|80||a.*", "cds outbound|80|v1|a.*"},
    ),
    "endpoint-of-a-headless-tcp-service": (
        SHARD.format(host="headless", account="a"),
        {"lds 10.1.0.*_82", "nds nametable", "cds outbound|82||headless.*"},
    ),
    "virtual-service": (
        config(
            "VirtualService",
            "a",
            "shop",
            "{hosts: [a], http: [{timeout: 1s, route: [{destination: {host: a}}]}]}",
        ),
        {"rds 80", "rds http_proxy"},
    ),
    "virtual-service-of-nothing": (
        config(
            "VirtualService",
            "x",
            "shop",
            "{hosts: [x.test], http: [{route: [{destination: {host: a}}]}]}",
        ),
        {"rds 80", "rds http_proxy"},
    ),
    "virtual-service-of-a-gateway": (
        config(
            "VirtualService",
            "x",
            "shop",
            "{hosts: [a], gateways: [g], http: [{route: [{destination: {host: a}}]}]}",
        ),
        set(),
    ),
    "virtual-service-that-is-not-exported": (
        config(
            "VirtualService",
            "x",
            "shop",
            "{hosts: [a], exportTo: ['.'], http: [{route: [{destination: {host: a}}]}]}",
        ),
        set(),
    ),
    "rule": (
        config(
            "DestinationRule",
            "a",
            "shop",
            f"{{host: a, subsets: [{{name: v1, labels: {{version: v1}}}}], {LIMIT}}}",
        ),
        {"cds outbound|80||a.*", "cds outbound|80|v1|a.*"},
    ),
    "rule-with-other-subsets": (
        config(
            "DestinationRule",
            "a",
            "shop",
            "{host: a, subsets: [{name: v2, labels: {version: v2}}]}",
        ),
        {
            "cds outbound|80|v1|a.*",
            "cds outbound|80|v2|a.*",
            "eds outbound|80|v1|a.*",
            "eds outbound|80|v2|a.*",
        },
    ),
    "rule-with-a-wildcard": (
        config(
            "DestinationRule",
            "all",
            "shop",
            f"{{host: '*.shop.svc.cluster.local', {LIMIT}}}",
        ),
        {"cds outbound|81||b.*", "cds outbound|82||headless.*"},
    ),
    "rule-of-another-namespace": (
        config("DestinationRule", "a", "elsewhere", "{host: a.shop.svc.cluster.local}"),
        set(),
    ),
    "peer-authentication-of-callers": (
        config("PeerAuthentication", "strict", "web", "{mtls: {mode: STRICT}}", "security"),
        {"lds virtualInbound"},
    ),
    "peer-authentication-of-servers": (
        config("PeerAuthentication", "plain", "shop", "{mtls: {mode: DISABLE}}", "security"),
        {"cds outbound|*.shop.*", "eds outbound|80||a.*"},
    ),
    "authorization-policy": (
        config("AuthorizationPolicy", "a", "web", "{rules: [{}]}", "security"),
        {"lds virtualInbound"},
    ),
    "authorization-policy-of-the-root-namespace": (
        config("AuthorizationPolicy", "a", "istio-system", "{rules: [{}]}", "security"),
        {"lds virtualInbound"},
    ),
    "authorization-policy-of-others": (
        config("AuthorizationPolicy", "a", "shop", "{rules: [{}]}", "security"),
        set(),
    ),
    "authorization-policy-for-other-workloads": (
        config(
            "AuthorizationPolicy", "a", "web", "{selector: {matchLabels: {app: x}}}", "security"
        ),
        set(),
    ),
    "new-http-service": (
        config(
            "ServiceEntry",
            "c",
            "web",
            f"{{hosts: [c.test], resolution: STATIC, {HTTP}}}",
        ),
        {
            "cds outbound|80||c.test",
            "eds outbound|80||c.test",
            "rds 80",
            "rds http_proxy",
            "nds nametable",
        },
    ),
    "new-tcp-service": (
        config(
            "ServiceEntry",
            "c",
            "web",
            f"{{hosts: [c.test], addresses: [192.0.2.1], resolution: STATIC, {TCP}}}",
        ),
        {
            "cds outbound|83||c.test",
            "eds outbound|83||c.test",
            "lds 192.0.2.1_83",
            "rds http_proxy",
            "nds nametable",
        },
    ),
    "service-that-is-not-exported": (
        config(
            "ServiceEntry",
            "c",
            "shop",
            f"{{hosts: [c.test], exportTo: ['.'], resolution: STATIC, {HTTP}}}",
        ),
        set(),
    ),
    "service-with-another-identity": (
        MESH_A + "  subject_alt_names: ['spiffe://elsewhere/a']\n",
        {"cds outbound|80||a.*", "cds outbound|80|v1|a.*"},
    ),
    "service-that-publishes-unready-endpoints": (
        MESH_A + "  publish_not_ready: true\n",
        {"eds outbound|80||a.*"},
    ),
    "virtual-service-with-a-wildcard": (
        config(
            "VirtualService",
            "x",
            "shop",
            "{hosts: ['*.web.svc.cluster.local'], http: [{route: [{destination: {host: a}}]}]}",
        ),
        {"rds 80", "rds http_proxy"},
    ),
    "service-at-the-address-of-the-proxy": (
        config(
            "ServiceEntry",
            "mine",
            "elsewhere",
            f"{{hosts: [m.test], exportTo: ['~'], endpoints: [{{address: 10.1.0.8}}], "
            f"resolution: STATIC, {TCP}}}",
        ),
        {"cds inbound|83||", "lds virtualInbound"},
    ),
    "registration-with-other-labels": (
        config(
            "WorkloadEntry",
            "web",
            "web",
            "{address: 10.1.0.8, labels: {app: other}, serviceAccount: web}",
        ),
        {"cds inbound|80||", "cds outbound|80||web.*", "eds outbound|80||web.*", "lds virtualI*"},
    ),
    "gateway": (
        config(
            "Gateway",
            "g",
            "web",
            "{selector: {app: web}, servers: [{port: {number: 80, name: h, protocol: HTTP}}]}",
        ),
        set(),
    ),
    "sidecar-of-others": (
        config(
            "Sidecar",
            "other",
            "web",
            "{workloadSelector: {labels: {app: other}}, egress: [{hosts: ['./*']}]}",
        ),
        set(),
    ),
    "unrelated-workload": (
        config("WorkloadEntry", "x", "web", "{address: 10.1.0.99, labels: {app: other}}"),
        set(),
    ),
}


def everything(snapshot: MeshSnapshot, proxy: Proxy) -> Mapping[str, Resource]:
    """All resources of a proxy, under `TYPE NAME`."""
    view = snapshot.view(proxy)
    found = [each for type_url in (CDS, LDS, NDS) for each in view.collection(type_url)]
    named = {EDS: view.collection(CDS).requires, RDS: ROUTES}
    for type_url, names in named.items():
        found += [each for name in sorted(names) if (each := view.named(type_url, name))]
    return {f"{SHORT_NAMES[each.type_url]} {each.name}": each for each in found}


def differing(before: Mapping[str, Resource], after: Mapping[str, Resource]) -> set[str]:
    return {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)}


@pytest.mark.parametrize(("change", "reached"), TABLE.values(), ids=TABLE)
def test_a_change_reaches(change: str, reached: set[str]) -> None:
    mesh = world(MESH)
    before = everything(mesh.snapshot(), WEB)
    assert not mesh.apply(changes(change))
    found = differing(before, everything(mesh.snapshot(), WEB))
    for pattern in reached:
        assert any(fnmatchcase(each, pattern) for each in found), f"{pattern} not in {found}"
    for each in found:
        assert any(fnmatchcase(each, pattern) for pattern in reached), f"{each} is not expected"


@pytest.mark.parametrize(("change", "reached"), TABLE.values(), ids=TABLE)
def test_taking_a_change_back_restores_everything(change: str, reached: set[str]) -> None:
    mesh = world(MESH)
    before = everything(mesh.snapshot(), WEB)
    puts = list(changes(change))
    mesh.apply(puts)
    everything(mesh.snapshot(), WEB)
    known = {each.key: each for each in changes(MESH)}
    mesh.apply([known.get(each.key, Put(each.key, None)) for each in puts])
    assert not differing(before, everything(mesh.snapshot(), WEB))


def test_collections_stay_the_same_objects_too() -> None:
    mesh = world(MESH)
    before = mesh.snapshot().view(WEB)
    kept = [before.collection(each) for each in (CDS, LDS, NDS)]
    mesh.apply(changes(SHARD.format(host="a", account="a")))
    after = mesh.snapshot().view(WEB)
    assert after is not before
    assert after.key == before.key
    assert all(
        after.collection(each) is one for each, one in zip((CDS, LDS, NDS), kept, strict=True)
    )


def test_proxies_of_a_class_share_one_view() -> None:
    snapshot = world(MESH).snapshot()
    one = sidecar_proxy("shop", ip="10.1.0.20", labels={"app": "x"}, NODE_NAME="n1")
    other = sidecar_proxy("shop", ip="10.1.0.21", labels={"app": "x"}, NODE_NAME="n2")
    assert snapshot.view(one) is snapshot.view(other)


def test_callers_on_a_node_share_the_endpoints_there() -> None:
    """And all callers of a namespace share all the rest (pilot.md D7)."""
    local = """
{apiVersion: registry.mast/v1, kind: Service, metadata: {name: local},
 spec: {host: local.shop.svc.cluster.local, namespace: shop, registry: Kubernetes,
        addresses: [10.96.0.77], node_local: true,
        ports: [{name: http, number: 80, protocol: HTTP}]}}
---
{apiVersion: registry.mast/v1, kind: EndpointShard, metadata: {name: local},
 spec: {host: local.shop.svc.cluster.local, namespace: shop, shard: east,
        endpoints: [{address: 10.1.0.1, node: n1, ports: {http: 80}},
                    {address: 10.1.0.2, node: n2, ports: {http: 80}}]}}
"""
    snapshot = world(MESH, local).snapshot()
    name = "outbound|80||local.shop.svc.cluster.local"
    seen = [
        everything(snapshot, sidecar_proxy("shop", labels={"app": "x"}, NODE_NAME=node))
        for node in ("n1", "n2", "n1")
    ]
    assert not differing(seen[0], seen[2])
    assert differing(seen[0], seen[1]) == {f"eds {name}"}


def test_workloads_of_a_namespace_share_what_they_call_others_with() -> None:
    snapshot = world(MESH).snapshot()
    one = everything(snapshot, sidecar_proxy("shop", ip="10.1.0.20", labels={"app": "x"}))
    other = everything(snapshot, sidecar_proxy("shop", ip="10.1.0.21", labels={"app": "y"}))
    assert not differing(one, other)


def test_namespaces_share_clusters_and_endpoints_of_what_both_see() -> None:
    snapshot = world(MESH).snapshot()
    one, other = (
        everything(snapshot, sidecar_proxy(namespace, ip="10.1.0.20"))
        for namespace in ("shop", "web")
    )
    assert {each.partition(" ")[0] for each in differing(one, other)} == {"rds"}


def test_an_old_snapshot_is_not_served_from_newer_results() -> None:
    mesh = world(MESH)
    old = mesh.snapshot()
    mesh.apply(changes(SHARD.format(host="a", account="other")))
    new = everything(mesh.snapshot(), WEB)
    late = everything(old, WEB)
    assert differing(late, new) == {
        "eds outbound|80||a.shop.svc.cluster.local",
        "cds outbound|80||a.shop.svc.cluster.local",
        "cds outbound|80|v1|a.shop.svc.cluster.local",
    }
    assert not differing(new, everything(mesh.snapshot(), WEB))
