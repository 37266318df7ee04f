"""VirtualServices with complete names and joined delegates (pilot.md F1, F5)."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.pilot.core.model.model import Config, ConfigMeta, Visibility
from mast.pilot.core.scope.virtual_services import (
    called_delegates,
    destinations,
    expanded,
    for_sidecars,
    gateway_semantics,
    path_separated,
    with_delegates,
)
from tests.support.messages import made, plain, read

META = ConfigMeta(
    collection="istio/networking/v1alpha3/virtualservices",
    group="networking.istio.io",
    api_version="v1",
    kind="VirtualService",
    namespace="shop",
    name="root",
)


def config(text: str, **meta: object) -> Config[VirtualService]:
    return Config(replace(META, **meta), made(VirtualService, text))


def test_expanded_names() -> None:
    given = config("""
        hosts: [reviews, api.example.com, '*']
        gateways: [mesh, front, ./side, other/gate, old.ns.svc.cluster.local, short.ns]
        http:
        - match: [{gateways: [front]}]
          route: [{destination: {host: reviews}}]
          mirror: {host: copy}
          mirrors: [{destination: {host: another}}]
        - delegate: {name: d}
        - delegate: {name: d, namespace: x}
        tcp: [{match: [{gateways: [front]}], route: [{destination: {host: t}}]}]
        tls: [{match: [{gateways: [mesh], sniHosts: [a]}], route: [{destination: {host: s}}]}]
    """)
    found = expanded(given, "cluster.local")
    assert plain(found.spec) == read("""
        hosts: [reviews.shop.svc.cluster.local, api.example.com, '*']
        gateways: [mesh, shop/front, shop/side, other/gate, ns/old, ns/short]
        http:
        - match: [{gateways: [shop/front]}]
          route: [{destination: {host: reviews.shop.svc.cluster.local}}]
          mirror: {host: copy.shop.svc.cluster.local}
          mirrors: [{destination: {host: another.shop.svc.cluster.local}}]
        - delegate: {name: d, namespace: shop}
        - delegate: {name: d, namespace: x}
        tcp:
        - match: [{gateways: [shop/front]}]
          route: [{destination: {host: t.shop.svc.cluster.local}}]
        tls:
        - match: [{gateways: [mesh], sni_hosts: [a]}]
          route: [{destination: {host: s.shop.svc.cluster.local}}]
    """)
    assert given.spec.hosts[0] == "reviews"
    assert (found.meta, found.visible_to) == (given.meta, given.visible_to)


@pytest.mark.parametrize(
    ("gateways", "expected"), [("[]", True), ("[mesh, a]", True), ("[a]", False)]
)
def test_for_sidecars(gateways: str, expected: bool) -> None:
    """Without gateways a VirtualService is bound to the mesh."""
    assert for_sidecars(expanded(config(f"gateways: {gateways}"), "cluster.local")) is expected


@pytest.mark.parametrize(
    ("annotations", "separated", "gateway"),
    [
        ({}, False, False),
        ({"internal.istio.io/route-semantics": "ingress"}, True, False),
        ({"internal.istio.io/route-semantics": "gateway"}, True, True),
    ],
)
def test_semantics(annotations: Mapping[str, str], separated: bool, gateway: bool) -> None:
    meta = replace(META, annotations=annotations)
    assert (path_separated(meta), gateway_semantics(meta)) == (separated, gateway)


def test_destinations() -> None:
    spec = config("""
        http:
        - route: [{destination: {host: a}}, {destination: {host: b}}]
          mirror: {host: c}
          mirrors: [{destination: {host: d}}]
        - redirect: {uri: /}
        tcp: [{route: [{destination: {host: e}}]}]
        tls: [{route: [{destination: {host: f}}]}]
    """).spec
    assert sorted(each.host for each in destinations(spec)) == list("abcdef")


ROOT = "{hosts: [r], http: [{delegate: {name: leaf, namespace: shop}}, {name: own}]}"
LEAF = "http: [{name: leaf}]"
PRIVATE = Visibility(everyone=False, namespaces=frozenset({"other"}))


def test_delegates_are_joined() -> None:
    root = config(ROOT)
    found = with_delegates(root, {("shop", "leaf"): config(LEAF, name="leaf")})
    assert [each.name for each in found.spec.http] == ["leaf", "own"]
    assert found.meta is root.meta
    assert [each.name for each in root.spec.http] == ["", "own"]


@pytest.mark.parametrize(
    "delegates",
    [
        pytest.param({}, id="missing"),
        pytest.param({("shop", "leaf"): config(f"{{hosts: [x], {LEAF}}}")}, id="with-hosts"),
        pytest.param(
            {("shop", "leaf"): Config(META, made(VirtualService, LEAF), PRIVATE)}, id="invisible"
        ),
        pytest.param({("other", "leaf"): config(LEAF)}, id="elsewhere"),
    ],
)
def test_delegates_that_do_not_count(
    delegates: Mapping[tuple[str, str], Config[VirtualService]],
) -> None:
    found = with_delegates(config(ROOT), delegates)
    assert [each.name for each in found.spec.http] == ["own"]


def test_without_delegates_it_stays_the_same() -> None:
    root = config("{hosts: [r], http: [{name: own}]}")
    assert with_delegates(root, {}) is root
    assert called_delegates(root.spec) == frozenset()
    assert called_delegates(config(ROOT).spec) == {("shop", "leaf")}
