"""Configuration objects by name and by what they are about."""

import pytest

from mast.pilot.core.model.decoding import config
from mast.pilot.core.scope import memo
from mast.pilot.core.scope.catalog import Catalog
from mast.pilot.core.scope.memo import Fact
from tests.support.mesh_yaml import changes

VS = "istio/networking/v1alpha3/virtualservices"
DR = "istio/networking/v1alpha3/destinationrules"


def text(kind: str, spec: str, name: str = "x", namespace: str = "shop") -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )


def put(catalog: Catalog, document: str) -> set[Fact]:
    """Put the object of a document; returns the facts that changed."""
    (change,) = changes(document)
    assert change.value is not None
    made = config(change.key, change.value)
    meta = made.meta
    catalog.put(meta.collection, meta.namespace, meta.name, made)
    return catalog.settle()


def names(catalog: Catalog, host: str) -> list[str]:
    return [each.meta.name for each in catalog.snapshot().virtual_services.get(host, ())]


def test_virtual_services_by_full_host_and_gateway() -> None:
    catalog = Catalog("cluster.local")
    touched = put(catalog, text("VirtualService", "{hosts: [a, '*.test'], gateways: [mesh, g]}"))
    assert touched == {
        Fact(VS, "shop"),
        Fact(memo.VIRTUAL_SERVICE, "a.shop.svc.cluster.local"),
        Fact(memo.VIRTUAL_SERVICE, "*.test"),
        Fact(memo.VIRTUAL_SERVICE, "*"),
        Fact(memo.GATEWAY, "mesh"),
        Fact(memo.GATEWAY, "shop/g"),
    }
    found = catalog.snapshot()
    assert sorted(found.virtual_services) == ["*.test", "a.shop.svc.cluster.local"]
    assert sorted(found.by_gateway) == ["mesh", "shop/g"]


def test_what_is_replaced_leaves_nothing_behind() -> None:
    catalog = Catalog("cluster.local")
    put(catalog, text("VirtualService", "{hosts: [a]}"))
    touched = put(catalog, text("VirtualService", "{hosts: [b], gateways: [g]}"))
    assert Fact(memo.VIRTUAL_SERVICE, "a.shop.svc.cluster.local") in touched
    assert not catalog.snapshot().virtual_services
    catalog.put(VS, "shop", "x", None)
    assert not catalog.snapshot().by_gateway
    assert not catalog.snapshot().configs
    assert not catalog.snapshot().collections


ROOT = "{hosts: [a], http: [{delegate: {name: d, namespace: web}}]}"
DELEGATE = "{http: [{redirect: {uri: /%s}}]}"


def test_a_delegate_changes_those_who_call_it() -> None:
    catalog = Catalog("cluster.local")
    put(catalog, text("VirtualService", ROOT))
    host = "a.shop.svc.cluster.local"
    assert not catalog.snapshot().virtual_services[host][0].spec.http
    touched = put(catalog, text("VirtualService", DELEGATE % "one", "d", "web"))
    assert Fact(memo.VIRTUAL_SERVICE, host) in touched
    assert catalog.snapshot().virtual_services[host][0].spec.http[0].redirect.uri == "/one"
    put(catalog, text("VirtualService", DELEGATE % "two", "d", "web"))
    assert catalog.snapshot().virtual_services[host][0].spec.http[0].redirect.uri == "/two"
    catalog.put(VS, "web", "d", None)
    assert not catalog.snapshot().virtual_services[host][0].spec.http


def test_who_no_longer_calls_a_delegate_does_not_follow_it() -> None:
    catalog = Catalog("cluster.local")
    put(catalog, text("VirtualService", ROOT))
    put(catalog, text("VirtualService", "{hosts: [a]}"))
    touched = put(catalog, text("VirtualService", DELEGATE % "one", "d", "web"))
    assert Fact(memo.VIRTUAL_SERVICE, "a.shop.svc.cluster.local") not in touched


@pytest.mark.parametrize(
    ("host", "full", "wildcard"),
    [
        ("a", "a.shop.svc.cluster.local", False),
        ("a.test", "a.test", False),
        ("'*.test'", "*.test", True),
    ],
)
def test_destination_rules_by_full_host(host: str, full: str, wildcard: bool) -> None:
    catalog = Catalog("cluster.local")
    touched = put(catalog, text("DestinationRule", f"{{host: {host}}}"))
    assert list(catalog.snapshot().destination_rules) == [full]
    expected = {Fact(DR, "shop"), Fact(memo.DESTINATION_RULE, full)}
    assert touched == expected | ({Fact(memo.DESTINATION_RULE, "*")} if wildcard else set())


def test_the_oldest_comes_first() -> None:
    catalog = Catalog("cluster.local")
    for document in (
        text("VirtualService", "{hosts: [a.test]}", "old", "web"),
        text("VirtualService", "{hosts: [a.test]}", "new"),
    ):
        put(catalog, document)
    assert names(catalog, "a.test") == ["new", "old"]
    old = text("VirtualService", "{hosts: [a.test]}", "old", "web").replace(
        "namespace: web", "namespace: web, creationTimestamp: 2001-01-01T00:00:00Z"
    )
    put(catalog, old)
    assert names(catalog, "a.test") == ["old", "new"]


FAILOVER = "localityLbSetting: {failoverPriority: [%s, 'b=c']}"


@pytest.mark.parametrize(
    ("kind", "spec", "keys"),
    [
        pytest.param(
            "VirtualService",
            "{hosts: [a], http: [{match: [{sourceLabels: {a: b}}]}], "
            "tcp: [{match: [{sourceLabels: {c: d}}]}], tls: [{match: [{sourceLabels: {e: f}}]}]}",
            {"a", "c", "e"},
            id="source-labels",
        ),
        pytest.param(
            "DestinationRule",
            "{host: a, workloadSelector: {matchLabels: {a: b}}}",
            {"a"},
            id="callers-of-a-rule",
        ),
        pytest.param(
            "DestinationRule",
            f"{{host: a, trafficPolicy: {{loadBalancer: {{{FAILOVER % 'x'}}}}}, subsets: ["
            "{name: s, trafficPolicy: {portLevelSettings: [{port: {number: 1}, "
            f"loadBalancer: {{{FAILOVER % 'y'}}}}}]}}}}]}}",
            {"x", "y", "b"},
            id="failover-priority",
        ),
        pytest.param("Gateway", "{selector: {a: b}}", {"a"}, id="gateway"),
        pytest.param("Sidecar", "{workloadSelector: {labels: {a: b}}}", set(), id="sidecar"),
    ],
)
def test_labels_that_callers_are_told_apart_by(kind: str, spec: str, keys: set[str]) -> None:
    catalog = Catalog("cluster.local")
    touched = put(catalog, text(kind, spec))
    assert catalog.snapshot().selector_keys == keys
    assert (Fact(memo.SELECTOR_KEYS) in touched) is bool(keys)
    (change,) = changes(text(kind, spec))
    collection, namespace, name = change.key.removeprefix("config/").rsplit("/", 2)
    catalog.put(collection, namespace, name, None)
    assert (Fact(memo.SELECTOR_KEYS) in catalog.settle()) is bool(keys)
    assert catalog.snapshot().selector_keys == frozenset()


def test_labels_of_envoy_filters_tell_no_callers_apart() -> None:
    catalog = Catalog("cluster.local")
    document = text("EnvoyFilter", "{workloadSelector: {labels: {a: b}}}")
    put(catalog, document.replace("io/v1\n", "io/v1alpha3\n"))
    assert catalog.snapshot().selector_keys == set()
