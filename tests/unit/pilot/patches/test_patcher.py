"""Patched views: what is added, what is shared, what is made again (pilot.md K1, K2, B)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from mast.pilot.core.model.finding import Fault
from mast.pilot.core.model.proxy import Proxy, ProxyType, parse
from mast.pilot.core.patches.patch import PatchName
from mast.pilot.core.patches.patcher import Patcher
from mast.pilot.core.world.patched_view import PatchedView
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.world.view import MeshView
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import (
    BOOTSTRAP,
    CDS,
    ECDS,
    EDS,
    LDS,
    NDS,
    RDS,
    VHDS,
    Resource,
    resource,
)
from tests.support.envoy_patches import EXTENSIONS
from tests.support.mesh_yaml import changes, sidecar_proxy, world

WEB = "outbound|80||web.shop.svc.cluster.local"
API = "outbound|80||api.shop.svc.cluster.local"
SERVICES = "".join(
    f"""
---
apiVersion: registry.mast/v1
kind: Service
metadata: {{name: {name}}}
spec:
  host: {name}.shop.svc.cluster.local
  namespace: shop
  name: {name}
  registry: Kubernetes
  addresses: [10.0.0.{number}]
  ports: [{{number: 80, name: http, targetPort: 8080}}]
"""
    for number, name in enumerate(("web", "api"), 1)
)


def envoy_filter(*patches: str, name: str = "test", spec: str = "") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: shop}}
spec: {{{spec}configPatches: [{", ".join(patches)}]}}
"""


def patch(apply_to: str, operation: str, value: str = "", match: str = "{}") -> str:
    tail = f", value: {value}" if value else ""
    return "{applyTo: %s, match: %s, patch: {operation: %s%s}}" % (
        apply_to, match, operation, tail,
    )  # fmt: skip


TIMEOUT = patch(
    "CLUSTER", "MERGE", "{connect_timeout: 7s}", "{cluster: {service: web.shop.svc.cluster.local}}"
)
PROXY = sidecar_proxy(labels={"app": "web"})


def router() -> Proxy:
    node = Node(id="router~10.1.0.9~gw-1.shop~shop.svc.cluster.local")
    node.metadata.update({"NAMESPACE": "shop"})
    return parse(node)


def view(snapshot: MeshSnapshot, proxy: Proxy = PROXY) -> PatchedView:
    made = snapshot.view(proxy)
    assert isinstance(made, PatchedView)
    return made


def decoded(found: Resource | None, kind: type[Any]) -> Any:
    assert found is not None
    return kind.FromString(found.body)


def named(made: PatchedView, type_url: str, name: str, kind: type[Any]) -> Any:
    return decoded(made.collection(type_url).resources.get(name), kind)


def failures(snapshot: MeshSnapshot) -> list[str]:
    return [each.message for each in snapshot.findings([PROXY]) if each.fault is Fault.PATCH]


def test_without_patches_there_is_no_patched_view() -> None:
    others = envoy_filter(TIMEOUT, spec="workloadSelector: {labels: {app: other}}, ")
    assert isinstance(world(SERVICES, others).snapshot(1).view(PROXY), MeshView)


def test_only_what_is_patched_differs_from_what_others_share() -> None:
    only_web = envoy_filter(TIMEOUT, spec="workloadSelector: {labels: {app: web}}, ")
    snapshot = world(SERVICES, only_web).snapshot(1)
    patched, plain = view(snapshot), snapshot.view(sidecar_proxy(labels={"app": "x"}))
    assert named(patched, CDS, WEB, Cluster).connect_timeout.seconds == 7
    assert decoded(plain.collection(CDS).resources[WEB], Cluster).connect_timeout.seconds == 10
    assert patched.collection(CDS).resources[API] is plain.collection(CDS).resources[API]
    assert patched.named(EDS, WEB) is plain.named(EDS, WEB)
    assert patched.collection(NDS) is patched.generated.collection(NDS)


def test_proxies_with_equal_patches_share_what_they_make() -> None:
    snapshot = world(SERVICES, envoy_filter(TIMEOUT)).snapshot(1)
    one, other = view(snapshot), view(snapshot, sidecar_proxy(labels={"app": "x"}))
    assert one is not other
    assert one.collection(CDS).resources[WEB] is other.collection(CDS).resources[WEB]
    assert view(snapshot, sidecar_proxy(labels={"app": "web"}, ip="10.1.0.99")) is one


def test_a_change_makes_only_its_dependants_again() -> None:
    mesh = world(SERVICES, envoy_filter(TIMEOUT))
    before = view(mesh.snapshot(1)).collection(CDS)
    mesh.apply(changes(SERVICES.replace("10.0.0.2", "10.0.0.3")))
    after = view(mesh.snapshot(2)).collection(CDS)
    assert after.resources[WEB] is before.resources[WEB]
    _replace(mesh, envoy_filter(TIMEOUT.replace("7s", "8s")))
    last = view(mesh.snapshot(3))
    assert named(last, CDS, WEB, Cluster).connect_timeout.seconds == 8
    assert last.collection(CDS).resources[API] is after.resources[API]


def test_an_equal_snapshot_gives_the_same_objects() -> None:
    mesh = world(SERVICES, envoy_filter(TIMEOUT))
    before = view(mesh.snapshot(1)).collection(LDS)
    assert view(mesh.snapshot(2)).collection(LDS) is before


def test_findings_go_with_the_patch() -> None:
    bad = patch("CLUSTER", "MERGE", "{type: STRICT_DNS}", "{cluster: {name: '%s'}}" % WEB)
    mesh = world(SERVICES, envoy_filter(bad))
    snapshot = mesh.snapshot(1)
    view(snapshot).collection(CDS)
    (message,) = failures(snapshot)
    assert message.startswith(f"shop/test configPatches[0] of {WEB} is left out: Envoy would")
    _replace(mesh, envoy_filter(TIMEOUT))
    fixed = mesh.snapshot(2)
    view(fixed).collection(CDS)
    assert failures(fixed) == []


def _replace(mesh: World, text: str) -> None:
    assert not mesh.apply(changes(text))


CONTEXTS = ["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"]


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize(
    ("apply_to", "type_url", "value"),
    [
        pytest.param("CLUSTER", CDS, "{name: new}", id="cluster"),
        pytest.param(
            "LISTENER",
            LDS,
            "{name: new, filter_chains: [{filters: [{name: e, typed_config: {'@type':"
            f" {EXTENSIONS}.filters.network.echo.v3.Echo}}}}]}}]}}",
            id="listener",
        ),
        pytest.param(
            "EXTENSION_CONFIG",
            ECDS,
            f"{{name: new, typed_config: {{'@type': {EXTENSIONS}.filters.http.lua.v3.Lua}}}}",
            id="extension",
        ),
    ],
)
def test_what_is_added_where(apply_to: str, type_url: str, value: str, context: str) -> None:
    match = "{context: %s}" % context
    text = envoy_filter(patch(apply_to, "ADD", value, match), patch("BOOTSTRAP", "MERGE", "{}"))
    snapshot = world(SERVICES, text).snapshot(1)
    sidecar, gateway = view(snapshot), view(snapshot, router())
    for made, expected in ((sidecar, context != "GATEWAY"), (gateway, context in CONTEXTS[::3])):
        assert ("new" in made.collection(type_url).resources) is expected
        assert (made.named(type_url, "new") is not None) is expected


def test_an_added_name_that_is_taken_is_reported() -> None:
    snapshot = world(
        SERVICES, envoy_filter(patch("CLUSTER", "ADD", "{name: '%s'}" % WEB))
    ).snapshot(1)
    assert named(view(snapshot), CDS, WEB, Cluster).type == Cluster.EDS
    (message,) = failures(snapshot)
    assert f"name: there is a '{WEB}' already" in message


def test_what_is_removed_may_be_added_anew() -> None:
    match = "{cluster: {name: '%s'}}" % WEB
    text = envoy_filter(
        patch("CLUSTER", "REMOVE", match=match),
        patch("CLUSTER", "ADD", "{name: '%s', alt_stat_name: mine}" % WEB),
    )
    made = view(world(SERVICES, text).snapshot(1))
    assert named(made, CDS, WEB, Cluster).alt_stat_name == "mine"
    assert decoded(made.named(CDS, WEB), Cluster).alt_stat_name == "mine"


def test_what_is_removed_is_not_there_on_demand_either() -> None:
    text = envoy_filter(patch("CLUSTER", "REMOVE", match="{cluster: {name: '%s'}}" % WEB))
    made = view(world(SERVICES, text).snapshot(1))
    assert WEB not in made.collection(CDS).resources
    assert made.named(CDS, WEB) is None


def test_a_cluster_of_another_type_waits_for_no_endpoints() -> None:
    value = "{type: STATIC, eds_cluster_config: null}"
    text = envoy_filter(
        patch("CLUSTER", "REMOVE", match="{cluster: {name: '%s'}}" % WEB),
        patch("CLUSTER", "ADD", value.replace("{", "{name: '%s', " % WEB, 1)),
    )
    made = view(world(SERVICES, text).snapshot(1)).collection(CDS)
    assert made.resources[WEB].requires == frozenset()
    assert made.resources[API].requires == {API}


def test_listeners_and_inline_routes_know_their_direction() -> None:
    service = SERVICES.replace(
        "name: web\n  registry", "selector: {app: web}\n  name: web\n  registry", 1
    )
    text = envoy_filter(
        patch("LISTENER", "MERGE", "{stat_prefix: in}", "{context: SIDECAR_INBOUND}"),
        patch("VIRTUAL_HOST", "MERGE", "{name: renamed}", "{context: SIDECAR_INBOUND}"),
    )
    made = view(world(service, text).snapshot(1))
    assert named(made, LDS, "virtualInbound", Listener).stat_prefix == "in"
    assert named(made, LDS, "virtualOutbound", Listener).stat_prefix == ""
    assert b"renamed" in made.collection(LDS).resources["virtualInbound"].body
    assert b"renamed" not in decoded(made.named(RDS, "80"), RouteConfiguration).SerializeToString()


def test_routes_are_patched_added_and_emptied() -> None:
    text = envoy_filter(
        patch("HTTP_ROUTE", "MERGE", "{request_headers_to_remove: [x]}",
              "{routeConfiguration: {portNumber: 80}}"),
        patch("ROUTE_CONFIGURATION", "ADD", "{name: mine, virtual_hosts: [{name: a, domains: [a],"
              " routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}"),
        patch("ROUTE_CONFIGURATION", "REMOVE", match="{routeConfiguration: {name: '81'}}"),
    )  # fmt: skip
    made = view(world(SERVICES, text).snapshot(1))
    routes = decoded(made.named(RDS, "80"), RouteConfiguration)
    assert all(
        list(route.request_headers_to_remove) == ["x"]
        for host in routes.virtual_hosts
        for route in host.routes
    )
    mine = decoded(made.named(RDS, "mine"), RouteConfiguration)
    assert [each.name for each in mine.virtual_hosts] == ["a"]
    assert not decoded(made.named(RDS, "81"), RouteConfiguration).virtual_hosts


def test_extensions_come_by_name() -> None:
    value = f"{{name: mine, typed_config: {{'@type': {EXTENSIONS}.filters.http.lua.v3.Lua}}}}"
    made = view(world(SERVICES, envoy_filter(patch("EXTENSION_CONFIG", "ADD", value))).snapshot(1))
    assert decoded(made.named(ECDS, "mine"), TypedExtensionConfig).name == "mine"
    assert made.named(ECDS, "other") is None


def test_patches_of_the_bootstrap_are_handed_over_as_one() -> None:
    text = envoy_filter(
        patch("BOOTSTRAP", "MERGE", "{stats_flush_interval: 1s, flags_path: a}"),
        patch("BOOTSTRAP", "MERGE", "{stats_flush_interval: 2s}"),
    )
    made = view(world(SERVICES, text).snapshot(1))
    found = named(made, BOOTSTRAP, "bootstrap", Bootstrap)
    assert (found.stats_flush_interval.seconds, found.flags_path) == (2, "a")
    plain = view(world(SERVICES, envoy_filter(TIMEOUT)).snapshot(1))
    assert not plain.collection(BOOTSTRAP).resources


def test_virtual_hosts_on_demand_are_patched_with_their_configuration() -> None:
    text = envoy_filter(
        patch("VIRTUAL_HOST", "MERGE", "{include_request_attempt_count: true}",
              "{routeConfiguration: {portNumber: 80}}"),
        patch("VIRTUAL_HOST", "REMOVE", match="{routeConfiguration: {vhost: {name: gone}}}"),
    )  # fmt: skip
    scope = world(text).snapshot(1).scope("shop")
    names = (PatchName("shop", "test", 0), PatchName("shop", "test", 1))
    patcher = Patcher(
        names, ProxyType.SIDECAR, lambda url, each: resource(each.name, url, each), lambda _: ()
    )

    def patched(route: str, name: str) -> Resource | None:
        host = VirtualHost(name=name, domains=["a"])
        return patcher.resource(resource(f"{route}/{name}", VHDS, host), scope)

    assert decoded(patched("80", "a"), VirtualHost).include_request_attempt_count
    assert not decoded(patched("81", "a"), VirtualHost).include_request_attempt_count
    assert patched("80", "gone") is None


def test_what_was_applied_is_known() -> None:
    text = envoy_filter(
        TIMEOUT,
        patch("CLUSTER", "MERGE", "{connect_timeout: 1s}", "{cluster: {name: nobody}}"),
        patch("HTTP_ROUTE", "MERGE", "{name: x}", "{routeConfiguration: {name: '80'}}"),
        patch("CLUSTER", "ADD", "{name: new}"),
        patch("CLUSTER", "ADD", "{name: '%s'}" % WEB),
        patch("LISTENER", "MERGE", "{stat_prefix: in}", "{listener: {name: virtualInbound}}"),
        patch("BOOTSTRAP", "MERGE", "{flags_path: a}"),
        patch("ROUTE_CONFIGURATION", "ADD", "{name: nobody-refers-to}"),
        patch("ROUTE_CONFIGURATION", "ADD", "{name: 'web.shop.svc.cluster.local:80'}"),
    )
    made = view(world(SERVICES, text).snapshot(1))
    assert sorted(each.place for each in made.applied()) == [0, 3, 5, 6, 8]


def test_what_is_not_patched_is_followed_as_it_is_generated() -> None:
    made = view(world(SERVICES, envoy_filter(TIMEOUT)).snapshot(1))
    generated = made.generated
    assert made.generation == generated.generation
    assert made.family(EDS) == generated.family(EDS)
    assert made.family(RDS) != generated.family(RDS)
    assert made.renewed(EDS, made.generation) == generated.renewed(EDS, made.generation)
    made.named(RDS, "80")
    assert made.renewed(RDS, made.generation) == frozenset()


def test_an_older_view_does_not_know_what_changed() -> None:
    mesh = world(SERVICES, envoy_filter(TIMEOUT))
    old = view(mesh.snapshot(1))
    mesh.apply(changes(SERVICES.replace("10.0.0.2", "10.0.0.3")))
    mesh.snapshot(2)
    assert old.renewed(RDS, old.generation) is None


def test_a_gateway_matches_the_port_of_its_service() -> None:
    """Server port 80 listens on the target port of the gateway's Service (pilot.md I2, K1)."""
    gateway = """
---
apiVersion: registry.mast/v1
kind: Service
metadata: {name: gw}
spec:
  host: gw.shop.svc.cluster.local
  namespace: shop
  name: gw
  registry: Kubernetes
  selector: {app: gw}
  ports: [{number: 80, name: http, targetPort: 8080}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  selector: {app: gw}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [web.com]}]
"""
    text = envoy_filter(
        patch("ROUTE_CONFIGURATION", "MERGE", "{request_headers_to_remove: [x]}",
              "{context: GATEWAY, routeConfiguration: {portNumber: 80}}")
    )  # fmt: skip
    node = Node(id="router~10.1.0.9~gw-1.shop~shop.svc.cluster.local")
    node.metadata.update({"NAMESPACE": "shop", "LABELS": {"app": "gw"}})
    made = view(world(gateway, text).snapshot(1), parse(node))
    (name,) = made.collection(LDS).requires
    assert name == "http.8080"
    routes = decoded(made.named(RDS, name), RouteConfiguration)
    assert list(routes.request_headers_to_remove) == ["x"]
