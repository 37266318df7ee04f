"""What a view has by name, what it has on demand, and what it does not have."""

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from mast.pilot.core.model.proxy import parse
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import CDS, EDS, LDS, NDS, RDS
from tests.support.mesh_yaml import changes, world
from tests.support.view_mesh import HTTP, MESH, WEB, config


@pytest.mark.parametrize(
    "name",
    [
        "outbound|80||nobody.test",
        "outbound|99||a.shop.svc.cluster.local",
        "outbound|80|v9|a.shop.svc.cluster.local",
        "outbound|82||headless.shop.svc.cluster.local",
        "inbound|80||",
        "nonsense",
    ],
)
def test_unknown_endpoints(name: str) -> None:
    assert world(MESH).snapshot().view(WEB).named(EDS, name) is None


@pytest.mark.parametrize("name", ["8080", "nobody.test:80", "nonsense", ""])
def test_unknown_routes_are_the_catch_all(name: str) -> None:
    found = world(MESH).snapshot().view(WEB).named(RDS, name)
    assert found is not None
    routes = RouteConfiguration.FromString(found.body)
    assert routes.name == name
    assert [each.name for each in routes.virtual_hosts] == ["allow_any"]


def test_clusters_beyond_the_sidecar_are_there_on_demand() -> None:
    narrow = config("Sidecar", "narrow", "web", "{egress: [{hosts: ['./*']}]}")
    view = world(MESH, narrow).snapshot().view(WEB)
    name = "outbound|80||a.shop.svc.cluster.local"
    assert name not in view.collection(CDS).resources
    found = view.named(CDS, name)
    assert found is not None
    assert found.requires == {name}
    assert view.named(EDS, name) is not None
    assert view.named(CDS, "outbound|80||nobody.test") is None


def test_ports_beyond_the_sidecar_are_there_on_demand() -> None:
    narrow = config(
        "Sidecar",
        "narrow",
        "web",
        "{egress: [{port: {number: 81, name: t, protocol: TCP}, hosts: ['*/*']}]}",
    )
    view = world(MESH, narrow).snapshot().view(WEB)
    assert "outbound|81||b.shop.svc.cluster.local" in view.collection(CDS).resources
    assert view.named(CDS, "outbound|80||a.shop.svc.cluster.local") is not None


def test_a_cluster_that_resolves_nothing_is_not_there_on_demand_either() -> None:
    entry = config(
        "ServiceEntry",
        "c",
        "web",
        f"{{hosts: [c.test], resolution: DNS, workloadSelector: {{labels: {{a: b}}}}, {HTTP}}}",
    )
    assert world(MESH, entry).snapshot().view(WEB).named(CDS, "outbound|80||c.test") is None


GATEWAY = config(
    "Gateway",
    "g",
    "shop",
    "{selector: {app: gate}, servers: [{port: {number: 15443, name: tls, protocol: TLS}, "
    "hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}]}",
)


@pytest.mark.parametrize(
    ("app", "texts", "expected"),
    [
        pytest.param("gate", [GATEWAY], True, id="selected"),
        pytest.param("other", [GATEWAY], False, id="not-selected"),
        pytest.param("gate", [GATEWAY.replace("AUTO_", "")], False, id="other-mode"),
        pytest.param("gate", [], False, id="no-gateway"),
    ],
)
def test_gateways_pass_mutual_tls_on(app: str, texts: list[str], expected: bool) -> None:
    node = Node(id="router~10.1.0.9~gate-1.shop~shop.svc.cluster.local")
    node.metadata.update({"LABELS": {"app": app}})
    view = world(MESH, *texts).snapshot().view(parse(node))
    clusters = view.collection(CDS)
    name = "outbound_.80_._.a.shop.svc.cluster.local"
    assert (name in clusters.resources) is expected
    assert "outbound|80||a.shop.svc.cluster.local" in clusters.resources
    assert "outbound|82||headless.shop.svc.cluster.local" in clusters.requires
    assert "InboundPassthroughCluster" not in clusters.resources
    if expected:
        assert clusters.resources[name].requires == {"outbound|80||a.shop.svc.cluster.local"}


def test_types_that_a_view_does_not_have_are_empty() -> None:
    view = world(MESH).snapshot().view(WEB)
    assert not view.collection(EDS).resources
    assert view.named(LDS, "nothing") is None
    assert view.named(NDS, "nametable") is not None


def test_a_snapshot_without_changes_is_the_one_before() -> None:
    mesh = World()
    mesh.apply(changes(MESH))
    before = mesh.snapshot(1)
    after = mesh.snapshot(2)
    assert after.revision == 2
    assert after.index is before.index
    assert after.view(WEB) is before.view(WEB)
