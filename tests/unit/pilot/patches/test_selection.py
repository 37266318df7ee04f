"""Which patches a proxy takes, and in which order (pilot.md K1, K2, B23)."""

from __future__ import annotations

import pytest
from envoy.config.core.v3.base_pb2 import Node

from mast.pilot.core.model.finding import Fault
from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.patches.selection import patch_set, selected
from tests.support.mesh_yaml import sidecar_proxy, world

GATEWAY = "{group: gateway.networking.k8s.io, kind: Gateway, name: gw}"
PATCH = "{applyTo: CLUSTER, match: %s, patch: {operation: REMOVE}}"


def envoy_filter(name: str, spec: str = "", namespace: str = "shop", match: str = "{}") -> str:
    fields = f"configPatches: [{PATCH % match}]" + (f", {spec}" if spec else "")
    return f"""
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{fields}}}
"""


def found(proxy: Proxy, *texts: str) -> list[str]:
    snapshot = world(*texts).snapshot(1)
    return [str(each) for each in selected(proxy, snapshot.scope(proxy.namespace))]


def router(**metadata: object) -> Proxy:
    node = Node(id="router~10.1.0.9~gw-1.shop~shop.svc.cluster.local")
    node.metadata.update({"NAMESPACE": "shop", **metadata})
    return parse(node)


PROXY = sidecar_proxy(labels={"app": "web"}, ISTIO_VERSION="1.20.3", TIER="gold")


@pytest.mark.parametrize(
    ("spec", "namespace", "match", "hit"),
    [
        pytest.param("", "shop", "{}", True, id="own-namespace"),
        pytest.param("", "istio-system", "{}", True, id="root-namespace"),
        pytest.param("", "other", "{}", False, id="other-namespace"),
        pytest.param("workloadSelector: {labels: {app: web}}", "shop", "{}", True, id="selected"),
        pytest.param("workloadSelector: {labels: {app: web}}", "istio-system", "{}", True,
                     id="selected-from-root"),
        pytest.param("workloadSelector: {labels: {app: api}}", "shop", "{}", False,
                     id="not-selected"),
        pytest.param("workloadLabels: {app: api}", "shop", "{}", False, id="not-selected-of-old"),
        pytest.param(f"targetRefs: [{GATEWAY}]", "shop", "{}", False, id="for-a-gateway"),
        pytest.param("", "shop", "{context: GATEWAY}", False, id="gateway-context"),
        pytest.param("", "shop", "{context: SIDECAR_INBOUND}", True, id="inbound-context"),
        pytest.param("", "shop", "{context: WAYPOINT}", False, id="waypoint-context"),
        pytest.param("", "shop", "{proxy: {proxyVersion: '^1\\.2[0-9].*'}}", True, id="version"),
        pytest.param("", "shop", "{proxy: {proxyVersion: '20'}}", True, id="version-anywhere"),
        pytest.param("", "shop", "{proxy: {proxyVersion: '^1\\.19'}}", False, id="other-version"),
        pytest.param("", "shop", "{proxy: {proxyVersion: '('}}", False, id="no-expression"),
        pytest.param("", "shop", "{proxy: {metadata: {TIER: gold}}}", True, id="metadata"),
        pytest.param("", "shop", "{proxy: {metadata: {TIER: iron}}}", False, id="other-metadata"),
    ],
)  # fmt: skip
def test_selection(spec: str, namespace: str, match: str, hit: bool) -> None:
    text = envoy_filter("a", spec, namespace, match)
    assert found(PROXY, text) == ([f"{namespace}/a configPatches[0]"] if hit else [])


def test_a_proxy_without_version_fits_no_version() -> None:
    text = envoy_filter("a", match="{proxy: {proxyVersion: '.*'}}")
    assert found(sidecar_proxy(), text) == []


def test_gateways_are_selected_by_context_and_target() -> None:
    texts = (
        envoy_filter("for-gateways", match="{context: GATEWAY}"),
        envoy_filter("for-sidecars", match="{context: SIDECAR_OUTBOUND}"),
        envoy_filter("for-gw", f"targetRefs: [{GATEWAY}]"),
        envoy_filter("for-other", f"targetRefs: [{GATEWAY.replace('gw', 'other')}]"),
        envoy_filter("for-root-gw", f"targetRefs: [{GATEWAY}]", "istio-system"),
    )
    labels = {"gateway.networking.k8s.io/gateway-name": "gw"}
    assert found(router(LABELS=labels), *texts) == [
        "shop/for-gateways configPatches[0]",
        "shop/for-gw configPatches[0]",
    ]


def test_proxyless_clients_take_none() -> None:
    assert found(sidecar_proxy(GENERATOR="grpc"), envoy_filter("a")) == []


def test_order() -> None:
    """Priority, then the root namespace, then age, then the name."""
    same_age = "metadata: {creationTimestamp: 2021-01-01T00:00:00Z, "
    texts = [
        envoy_filter("late", "priority: 1"),
        envoy_filter("own-old"),
        envoy_filter("own-young"),
        envoy_filter("root", namespace="istio-system"),
        envoy_filter("early", "priority: -1"),
        envoy_filter("b").replace("metadata: {", same_age),
        envoy_filter("a").replace("metadata: {", same_age),
    ]
    expected = ["early", "root", "own-old", "own-young", "a", "b", "late"]
    names = [each.partition("/")[2].partition(" ")[0] for each in found(PROXY, *texts)]
    assert names == expected


def test_labels_of_the_registry_count() -> None:
    workload = """
---
apiVersion: registry.mast/v1
kind: Workload
metadata: {name: client-1}
spec: {cluster: k, namespace: shop, name: client-1, addresses: [10.1.0.7], labels: {app: api}}
"""
    text = envoy_filter("a", "workloadSelector: {labels: {app: web}}")
    assert found(PROXY, text) != []
    assert found(PROXY, text, workload) == []


def test_a_patch_that_cannot_be_read_is_reported_and_left_out() -> None:
    bad = envoy_filter("bad").replace("REMOVE", "ADD, value: {nonsense: 1}")
    snapshot = world(bad, envoy_filter("good")).snapshot(1)
    view = snapshot.view(PROXY)
    scope = snapshot.scope("shop")
    names = selected(PROXY, scope)
    assert [each.name.filter for each in patch_set(names, scope).patches] == ["good"]
    view.collection("type.googleapis.com/envoy.config.cluster.v3.Cluster")
    (finding,) = (each for each in snapshot.findings([PROXY]) if each.fault is Fault.PATCH)
    assert str(finding.subject) == "envoyfilters shop/bad"
    assert "nonsense" in finding.message


def test_filters_of_old_are_patches() -> None:
    text = envoy_filter("a").replace(
        "configPatches:",
        "filters: [{filterName: envoy.lua, filterType: HTTP, filterConfig: {inlineCode: x},"
        " listenerMatch: {listenerType: SIDECAR_INBOUND, portNumber: 80}},"
        " {filterName: envoy.echo, filterType: NETWORK, filterConfig: {},"
        " insertPosition: {index: LAST}},"
        " {filterName: envoy.lua, filterType: HTTP, filterConfig: {},"
        " insertPosition: {index: AFTER, relativeTo: envoy.cors}}], configPatches:",
    )
    scope = world(text).snapshot(1).scope("shop")
    found = patch_set(selected(PROXY, scope), scope).patches[1:]
    assert [each.operation for each in found] == [6, 4, 4, 5]
    assert [each.value.name for each in found] == [
        "envoy.filters.http.lua",
        "envoy.filters.network.echo",
        "envoy.filters.network.echo",
        "envoy.filters.http.lua",
    ]
    first, last, _, after = (each.match.listener for each in found)
    assert first.port_number == 80
    assert last.filter_chain.filter.name == "envoy.filters.network.http_connection_manager"
    assert after.filter_chain.filter.sub_filter.name == "envoy.cors"
