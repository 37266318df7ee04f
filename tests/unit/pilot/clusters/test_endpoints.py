"""Load assignments: who is in them, and what is said of each (pilot.md D6, H)."""

import pytest
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint

from mast.pilot.core.clusters.destination_rules import rule_for
from mast.pilot.core.clusters.endpoints import (
    Destination,
    address,
    is_cluster_local,
    load_assignment,
)
from mast.pilot.core.model.proxy import Proxy
from tests.support.legacy_objects import policy
from tests.support.mesh_yaml import scope, sidecar_proxy

HOST = "a.shop.svc.cluster.local"
CALLER = sidecar_proxy("web", CLUSTER_ID="east", NETWORK="here")

SERVICE = f"""
apiVersion: registry.mast/v1
kind: Service
metadata: {{name: a}}
spec:
  host: {HOST}
  namespace: shop
  registry: Kubernetes
  addresses: [10.96.0.1]
  ports: [{{name: http, number: 80, target_port: 8080, protocol: HTTP}}]
"""


def shard(*endpoints: str, name: str = "east") -> str:
    listed = "".join(f"  - {each}\n" for each in endpoints)
    return (
        "---\napiVersion: registry.mast/v1\nkind: EndpointShard\nmetadata: {name: x}\n"
        f"spec:\n  host: {HOST}\n  namespace: shop\n  shard: {name}\n  endpoints:\n{listed}"
    )


def endpoint(ip: str, more: str = "") -> str:
    return f"{{address: {ip}, namespace: shop, ports: {{http: 8080}}{more}}}"


def mesh_config(spec: str) -> str:
    return (
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\n"
        f"metadata: {{name: default, namespace: istio-system}}\nspec: {spec}\n"
    )


def rule(spec: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: a, namespace: shop}}\nspec: {{host: {HOST}, {spec}}}\n"
    )


def peer_authentication(spec: str) -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
        f"metadata: {{name: p, namespace: shop}}\nspec: {spec}\n"
    )


def old_policy(peers: str, more: str = "") -> str:
    return policy("a", f"{{targets: [{{name: a, {more}}}], peers: {peers}}}")


def endpoints(*texts: str, subset: str = "", caller: Proxy = CALLER) -> list[LbEndpoint]:
    found = scope(caller, *texts)
    service = found.service(HOST)
    assert service is not None
    destination = Destination(
        service, service.ports[0], subset, rule_for(found, service, caller.labels)
    )
    made = load_assignment("name", destination, found, caller)
    assert made.cluster_name == "name"
    return [each for locality in made.endpoints for each in locality.lb_endpoints]


def addresses(*texts: str, subset: str = "", caller: Proxy = CALLER) -> list[str]:
    found = endpoints(*texts, subset=subset, caller=caller)
    return [each.endpoint.address.socket_address.address for each in found]


STICKY = SERVICE + "  labels: {istio.io/persistent-session: cookie}\n"
UNREADY = SERVICE + "  publish_not_ready: true\n"


@pytest.mark.parametrize(
    ("health", "service", "expected"),
    [
        ("HEALTH_HEALTHY", SERVICE, HealthStatus.UNKNOWN),
        ("HEALTH_UNSPECIFIED", SERVICE, HealthStatus.UNKNOWN),
        ("HEALTH_UNHEALTHY", SERVICE, None),
        ("HEALTH_UNHEALTHY", UNREADY, HealthStatus.UNKNOWN),
        ("HEALTH_DRAINING", SERVICE, None),
        ("HEALTH_DRAINING", STICKY, HealthStatus.DRAINING),
        ("HEALTH_TERMINATING", STICKY, None),
        ("HEALTH_TERMINATING", UNREADY, None),
    ],
)
def test_health(health: str, service: str, expected: HealthStatus.ValueType | None) -> None:
    found = endpoints(service, shard(endpoint("10.0.0.1", f", health: {health}")))
    assert [each.health_status for each in found] == ([] if expected is None else [expected])


def test_subsets_have_the_endpoints_with_their_labels() -> None:
    texts = (
        SERVICE,
        shard(endpoint("10.0.0.1", ", labels: {v: '1'}"), endpoint("10.0.0.2")),
        rule("subsets: [{name: v1, labels: {v: '1'}}, {name: every}]"),
    )
    assert addresses(*texts) == ["10.0.0.1", "10.0.0.2"]
    assert addresses(*texts, subset="v1") == ["10.0.0.1"]
    assert addresses(*texts, subset="every") == ["10.0.0.1", "10.0.0.2"]


def test_endpoints_that_do_not_serve_the_port_are_left_out() -> None:
    assert addresses(SERVICE, shard("{address: 10.0.0.1, ports: {other: 1}}")) == []


def test_names_cannot_be_dialled_without_resolution() -> None:
    assert addresses(SERVICE, shard(endpoint("a.test"), endpoint("10.0.0.1"))) == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("gateways", "remote", "expected"),
    [
        pytest.param("[]", "''", ["10.0.0.1"], id="without-address"),
        pytest.param("[]", "a.test", ["10.0.0.1"], id="by-name"),
        pytest.param(
            "[{address: 203.0.113.1}]", "''", ["10.0.0.1", "203.0.113.1"], id="behind-a-gateway"
        ),
        pytest.param(
            "[{address: gate.test}]", "10.0.0.2", ["10.0.0.1"], id="behind-a-gateway-by-name"
        ),
    ],
)
def test_what_cannot_be_dialled_is_left_out(
    gateways: str, remote: str, expected: list[str]
) -> None:
    networks = (
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshNetworks\n"
        "metadata: {name: default, namespace: istio-system}\n"
        f"spec: {{networks: {{n: {{gateways: {gateways}}}}}}}\n"
    )
    shards = shard(endpoint("10.0.0.1"), endpoint(remote, MTLS + ", network: n"))
    assert addresses(SERVICE, shards, networks) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param("{}", ["10.0.0.1", "10.0.0.2"], id="all-clusters"),
        pytest.param(
            "{serviceSettings: [{settings: {clusterLocal: true}, hosts: ['*.shop.svc.cluster.local']}]}",  # noqa: E501
            ["10.0.0.1"],
            id="own-cluster",
        ),
        pytest.param(
            "{serviceSettings: [{settings: {clusterLocal: true}, hosts: [other.test]}]}",
            ["10.0.0.1", "10.0.0.2"],
            id="others",
        ),
    ],
)
def test_cluster_local_services(settings: str, expected: list[str]) -> None:
    texts = (SERVICE, shard(endpoint("10.0.0.1")), shard(endpoint("10.0.0.2"), name="west"))
    assert addresses(*texts, mesh_config(settings)) == expected


@pytest.mark.parametrize(
    ("namespace", "name", "settings", "local"),
    [
        pytest.param("kube-system", "dns", "{}", True, id="system"),
        pytest.param("default", "kubernetes", "{}", True, id="api"),
        pytest.param("default", "web", "{}", False, id="default-namespace"),
        pytest.param("kube-system", "dns",
                     "{serviceSettings: [{settings: {clusterLocal: false},"
                     " hosts: ['*.kube-system.svc.cluster.local']}]}", False, id="told-otherwise"),
    ],
)  # fmt: skip
def test_what_every_cluster_has_for_itself_is_local(
    namespace: str, name: str, settings: str, *, local: bool
) -> None:
    host = f"{name}.{namespace}.svc.cluster.local"
    text = SERVICE.replace(HOST, host).replace("namespace: shop", f"namespace: {namespace}")
    seen = scope(CALLER, text.replace("registry:", f"name: {name}\n  registry:"),
                 mesh_config(settings))  # fmt: skip
    found = seen.service(host)
    assert found is not None
    assert is_cluster_local(seen, found) is local


def test_a_proxy_may_ask_for_some_networks_only() -> None:
    texts = (SERVICE, shard(endpoint("10.0.0.1", ", network: n"), endpoint("10.0.0.2")))
    picky = sidecar_proxy("web", REQUESTED_NETWORK_VIEW="n, m")
    assert addresses(*texts, caller=picky) == ["10.0.0.1"]


MTLS = ", tls_mode: istio, labels: {app: a}"
DISABLE = "{mtls: {mode: DISABLE}}"
DISABLE_PORT = "{selector: {matchLabels: {app: a}}, portLevelMtls: {8080: {mode: DISABLE}}}"
OTHER_PORT = "{selector: {matchLabels: {app: a}}, portLevelMtls: {80: {mode: DISABLE}}}"


@pytest.mark.parametrize(
    ("more", "texts", "expected"),
    [
        pytest.param(MTLS, [], True, id="can"),
        pytest.param("", [], False, id="cannot"),
        pytest.param(MTLS, [peer_authentication(DISABLE)], False, id="may-not"),
        pytest.param(MTLS, [peer_authentication(DISABLE_PORT)], False, id="not-on-its-port"),
        pytest.param(MTLS, [peer_authentication(OTHER_PORT)], True, id="service-port-is-other"),
        pytest.param(MTLS, [old_policy("[]")], False, id="may-not-by-the-policy-of-the-service"),
        pytest.param(
            MTLS,
            [peer_authentication(DISABLE), old_policy("[{mtls: {}}]")],
            True,
            id="may-by-the-policy-of-the-service",
        ),
        pytest.param(
            MTLS, [old_policy("[]", "labels: {app: b}")], True, id="policy-for-other-workloads"
        ),
        pytest.param(MTLS, [rule("trafficPolicy: {tls: {mode: DISABLE}}")], False, id="rule-off"),
        pytest.param("", [rule("trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")], True, id="rule-on"),
        pytest.param(MTLS, [rule("trafficPolicy: {tls: {mode: SIMPLE}}")], False, id="rule-other"),
    ],
)
def test_mutual_tls(more: str, texts: list[str], expected: bool) -> None:
    (found,) = endpoints(SERVICE, shard(endpoint("10.0.0.1", more)), *texts)
    match = found.metadata.filter_metadata.get("envoy.transport_socket_match")
    assert (match is not None and match["tlsMode"] == "istio") is expected


def test_gateways_of_other_networks_take_mutual_tls() -> None:
    networks = (
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshNetworks\n"
        "metadata: {name: default, namespace: istio-system}\n"
        "spec: {networks: {n: {gateways: [{address: 203.0.113.1, port: 15443}]}}}\n"
    )
    (found,) = endpoints(SERVICE, shard(endpoint("10.0.0.1", MTLS + ", network: n")), networks)
    assert found.endpoint.address.socket_address.address == "203.0.113.1"
    assert found.metadata.filter_metadata["envoy.transport_socket_match"]["tlsMode"] == "istio"
    assert "istio" not in found.metadata.filter_metadata


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param("", None, id="nothing-known"),
        pytest.param(", workload_name: w", "w;shop;w;;east", id="name-only"),
        pytest.param(
            ", workload_name: w, labels: {app: a, version: v2}", "w;shop;a;v2;east", id="app"
        ),
        pytest.param(
            ", workload_name: w, labels: {app: a, app.kubernetes.io/name: b, "
            "service.istio.io/canonical-name: c, version: v1, "
            "service.istio.io/canonical-revision: latest}",
            "w;shop;c;;east",
            id="canonical",
        ),
    ],
)
def test_workload(more: str, expected: str | None) -> None:
    (found,) = endpoints(SERVICE, shard(endpoint("10.0.0.1", more)))
    told = found.metadata.filter_metadata.get("istio")
    assert (told["workload"] if told is not None else None) == expected


def test_nothing_is_told_of_workloads_outside() -> None:
    outside = SERVICE + "  location: LOCATION_MESH_EXTERNAL\n"
    (found,) = endpoints(outside, shard(endpoint("10.0.0.1", MTLS)))
    assert not found.metadata.filter_metadata


def test_all_addresses_of_an_endpoint_of_a_cluster() -> None:
    dual = sidecar_proxy("web", INSTANCE_IPS="10.0.0.9,fd00::9")
    both = shard(endpoint("10.0.0.1", ", additional_addresses: ['fd00::1']"))
    (found,) = endpoints(SERVICE, both, caller=dual)
    (other,) = found.endpoint.additional_addresses
    assert other.address.socket_address.address == "fd00::1"
    assert addresses(SERVICE, both) == ["10.0.0.1"]


def test_all_addresses_of_a_workload() -> None:
    entry = (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: a, namespace: shop}}\nspec: {{hosts: [{HOST}], resolution: STATIC, "
        "ports: [{number: 80, name: http}], workloadSelector: {labels: {app: a}}}\n"
    )
    workload = (
        "apiVersion: registry.mast/v1\nkind: Workload\nmetadata: {name: w}\n"
        "spec: {name: w, namespace: shop, cluster: c, addresses: [10.0.0.1, 'fd00::1'], "
        "labels: {app: a}}\n"
    )
    both = sidecar_proxy("web", INSTANCE_IPS="10.0.0.9,fd00::9")
    (found,) = endpoints(entry, workload, caller=both)
    assert found.endpoint.address.socket_address.address == "10.0.0.1"
    (more,) = found.endpoint.additional_addresses
    assert more.address.socket_address.address == "fd00::1"
    for ip, usable in (("10.0.0.9", "10.0.0.1"), ("fd00::9", "fd00::1")):
        (found,) = endpoints(entry, workload, caller=sidecar_proxy("web", ip=ip))
        assert found.endpoint.address.socket_address.address == usable
        assert not found.endpoint.additional_addresses


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        ("10.0.0.9", ["10.0.0.1"]),
        ("fd00::9", ["fd00::1"]),
        ("10.0.0.9,fd00::9", ["10.0.0.1", "fd00::1"]),
    ],
)
def test_addresses_of_a_family_that_callers_lack_are_left_out(
    ips: str, expected: list[str]
) -> None:
    texts = (SERVICE, shard(endpoint("10.0.0.1"), endpoint("'fd00::1'")))
    assert addresses(*texts, caller=sidecar_proxy("web", INSTANCE_IPS=ips)) == expected


@pytest.mark.parametrize(
    ("node", "expected"), [("n1", ["10.0.0.1"]), ("n2", ["10.0.0.2"]), ("n3", [])]
)
def test_node_local_services_are_used_on_their_node(node: str, expected: list[str]) -> None:
    shards = shard(endpoint("10.0.0.1", ", node: n1"), endpoint("10.0.0.2", ", node: n2"))
    caller = sidecar_proxy("web", NODE_NAME=node)
    assert addresses(SERVICE + "  node_local: true\n", shards, caller=caller) == expected
    assert addresses(SERVICE, shards, caller=caller) == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("text", "path"), [("unix:///run/x", "/run/x"), ("unix:/run/x", "/run/x"), ("unix://@x", "@x")]
)
def test_unix_sockets(text: str, path: str) -> None:
    assert address(text, 80).pipe.path == path
