"""What gRPC libraries get by name (pilot.md B29)."""

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.model.finding import Fault
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.resources import CDS, EDS, LDS, NDS, RDS, SDS, Resource
from tests.support.mesh_yaml import changes, sidecar_proxy, world

HOST = "web.shop.svc.cluster.local"
CLUSTER = f"outbound|8080||{HOST}"
ISTIO = "security.istio.io/tlsMode"
KINDS = {
    LDS: Listener,
    RDS: RouteConfiguration,
    CDS: Cluster,
    EDS: ClusterLoadAssignment,
}


def service(*, protocol: str = "GRPC", labels: str = f"{{{ISTIO}: istio}}", more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web, namespace: shop}}
spec:
  hosts: [{HOST}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: main, protocol: "{protocol}"}}]
  endpoints:
  - {{address: 10.0.0.1, ports: {{main: 90}}, serviceAccount: web, labels: {labels}}}
{more}
"""


def rule(policy: str) -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: DestinationRule,
 metadata: {{name: web, namespace: shop}}, spec: {{host: web, trafficPolicy: {{{policy}}}}}}}
"""


def policy(mode: str) -> str:
    return f"""
{{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {{name: default, namespace: shop}}, spec: {{mtls: {{mode: {mode}}}}}}}
"""


def routes(http: str) -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: VirtualService,
 metadata: {{name: web, namespace: shop}}, spec: {{hosts: [web], http: {http}}}}}
"""


def proxyless(**labels: str) -> Proxy:
    return sidecar_proxy("shop", labels=labels, GENERATOR="grpc")


def found(type_url: str, name: str, *texts: str, proxy: Proxy | None = None) -> Any:
    """A decoded resource, None if there is none."""
    view = world(*texts).snapshot(1).view(proxy or proxyless())
    resource: Resource | None = view.named(type_url, name)
    return KINDS[type_url].FromString(resource.body) if resource else None


def as_dict(message: Any) -> dict[str, Any]:
    told: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return told


def test_a_client_listener_leads_to_routes() -> None:
    made = as_dict(found(LDS, "web:8080", service()))
    assert made["name"] == "web:8080"
    manager = made["api_listener"]["api_listener"]
    assert manager["rds"]["route_config_name"] == CLUSTER
    assert [each["name"] for each in manager["http_filters"]] == [
        "envoy.filters.http.fault",
        "envoy.filters.http.router",
    ]


def test_routes_of_a_service_alone() -> None:
    made = found(RDS, CLUSTER, service())
    (host,) = made.virtual_hosts
    assert {HOST, "web", "web.shop", f"{HOST}:8080", "web:8080"} <= set(host.domains)
    assert as_dict(host.routes[0])["route"] == {
        "cluster": CLUSTER,
        "retry_policy": {"retry_on": "unavailable,cancelled", "num_retries": 2},
    }


def test_routes_keep_what_grpc_does_and_tell_the_rest() -> None:
    http = """[{match: [{uri: {prefix: /a}}], timeout: 3s, retries: {attempts: 1, retryOn: "5xx"},
      rewrite: {uri: /b}, mirror: {host: web}, headers: {request: {set: {a: b}}},
      route: [{destination: {host: web}}]},
     {match: [{headers: {"@request.auth.claims.a": {exact: b}}}],
      route: [{destination: {host: web}}]},
     {fault: {abort: {httpStatus: 503, percentage: {value: 10}}}, corsPolicy: {},
      route: [{destination: {host: web, subset: a}, weight: 1},
              {destination: {host: web, subset: b}, weight: 3}]}]"""
    held = world(service(), routes(http))
    snapshot = held.snapshot(1)
    resource = snapshot.view(proxyless()).named(RDS, CLUSTER)
    assert resource is not None
    first, second = map(
        as_dict, RouteConfiguration.FromString(resource.body).virtual_hosts[0].routes
    )
    assert first["route"] == {
        "cluster": CLUSTER,
        "max_stream_duration": {"max_stream_duration": "3s"},
    }
    weights = second["route"]["weighted_clusters"]["clusters"]
    assert [each["weight"] for each in weights] == [1, 3]
    assert set(second["typed_per_filter_config"]) == {"envoy.filters.http.fault"}
    (finding,) = [
        each for each in snapshot.findings([proxyless()]) if each.fault is Fault.PROXYLESS
    ]
    for part in ("headers", "rewrite", "mirrors", "retryOn 5xx", "JWT claims", "corsPolicy"):
        assert part in finding.message
    assert finding.subject is not None
    assert finding.subject.name == "web"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", "ROUND_ROBIN"),
        ("loadBalancer: {simple: RANDOM}", "ROUND_ROBIN"),
        ("loadBalancer: {consistentHash: {httpHeaderName: user}}", "RING_HASH"),
        ("loadBalancer: {consistentHash: {httpHeaderName: user, maglev: {}}}", "RING_HASH"),
    ],
)
def test_balancers(settings: str, expected: str) -> None:
    made = found(CDS, CLUSTER, service(), rule(settings))
    assert Cluster.LbPolicy.Name(made.lb_policy) == expected
    assert not made.HasField("maglev_lb_config")


def test_hashes_of_a_route() -> None:
    sticky = rule("loadBalancer: {consistentHash: {useSourceIp: true}}")
    (route,) = found(RDS, CLUSTER, service(), sticky).virtual_hosts[0].routes
    assert route.route.hash_policy[0].filter_state.key == "io.grpc.channel_id"


def test_limits_and_ejection() -> None:
    made = found(
        CDS,
        CLUSTER,
        service(),
        rule(
            "connectionPool: {http: {http2MaxRequests: 7}},"
            " outlierDetection: {consecutive5xxErrors: 4, interval: 2s, baseEjectionTime: 400s}"
        ),
    )
    assert as_dict(made)["circuit_breakers"]["thresholds"] == [{"max_requests": 7}]
    detection = as_dict(made)["outlier_detection"]
    assert detection["failure_percentage_request_volume"] == 4
    assert detection["interval"] == "2s"
    assert detection["max_ejection_time"] == "400s"


@pytest.mark.parametrize(
    ("texts", "secure"),
    [
        pytest.param([service()], True, id="automatic"),
        pytest.param([service(labels=f"{{{ISTIO}: disabled}}")], False, id="endpoint-cannot"),
        pytest.param([service(), policy("DISABLE")], False, id="server-does-not"),
        pytest.param([service(protocol="")], False, id="sniffed"),
        pytest.param([service(protocol=""), policy("STRICT")], True, id="sniffed-but-strict"),
        pytest.param([service(), rule("tls: {mode: DISABLE}")], False, id="rule-forbids"),
        pytest.param([service(labels="{}"), rule("tls: {mode: ISTIO_MUTUAL}")], True, id="rule"),
        pytest.param([service(), rule("tls: {mode: SIMPLE}")], False, id="not-the-mesh's"),
    ],
)
def test_mutual_tls_of_clusters(texts: list[str], secure: bool) -> None:
    made = found(CDS, CLUSTER, *texts)
    assert made.HasField("transport_socket") is secure
    if secure:
        context = UpstreamTlsContext.FromString(made.transport_socket.typed_config.value)
        common = context.common_tls_context
        assert common.tls_certificate_provider_instance.instance_name == "default"
        trusted = common.combined_validation_context.default_validation_context
        assert trusted.ca_certificate_provider_instance.instance_name == "default"
        assert [each.exact for each in trusted.match_subject_alt_names] == [
            "spiffe://cluster.local/ns/shop/sa/web"
        ]


@pytest.mark.parametrize(
    ("mode", "labels", "secure"),
    [
        ("STRICT", {}, True),
        ("PERMISSIVE", {}, False),
        ("PERMISSIVE", {ISTIO: "istio"}, True),
        ("DISABLE", {ISTIO: "istio"}, False),
    ],
)
def test_listeners_of_servers(mode: str, labels: dict[str, str], secure: bool) -> None:
    name = "xds.istio.io/grpc/lds/inbound/10.0.0.1:90"
    made = found(LDS, name, policy(mode), proxy=proxyless(**labels))
    assert as_dict(made.address) == {"socket_address": {"address": "10.0.0.1", "port_value": 90}}
    (chain,) = made.filter_chains
    assert chain.HasField("transport_socket") is secure
    (manager,) = as_dict(chain)["filters"]
    (host,) = manager["typed_config"]["route_config"]["virtual_hosts"]
    assert host["domains"] == ["*"]
    assert host["routes"][0]["non_forwarding_action"] == {}


def test_names_outside_the_mesh_are_resolved_by_grpc() -> None:
    outside = service().replace("STATIC", "DNS").replace("10.0.0.1", "web.example.com")
    made = found(CDS, CLUSTER, outside)
    assert made.type == Cluster.LOGICAL_DNS
    (group,) = made.load_assignment.endpoints
    assert group.lb_endpoints[0].endpoint.address.socket_address.address == "web.example.com"
    assert found(EDS, CLUSTER, outside) is None


@pytest.mark.parametrize(
    ("type_url", "name"),
    [
        (LDS, "nobody:8080"),
        (LDS, "0.0.0.0_8080"),
        (RDS, "8080"),
        (RDS, f"outbound|8080|v1|{HOST}"),
        (RDS, "outbound|8080||nobody"),
        (CDS, "outbound|8080||nobody"),
        (CDS, "PassthroughCluster"),
        (EDS, "outbound|8080||nobody"),
        (SDS, "kubernetes://a"),
    ],
)
def test_unknown_names_are_left_out(type_url: str, name: str) -> None:
    view = world(service()).snapshot(1).view(proxyless())
    assert view.named(type_url, name) is None


def test_agents_get_their_own_on_the_same_stream() -> None:
    view = world(service()).snapshot(1).view(proxyless())
    assert view.collection(NDS).resources
    assert not view.collection(CDS).resources


def test_only_what_changed_is_made_anew() -> None:
    held = world(service())
    first = held.snapshot(1).view(proxyless())
    before = {each: first.named(each, CLUSTER) for each in (RDS, CDS, EDS)}
    assert None not in before.values()
    held.apply(changes(service().replace("10.0.0.1", "10.0.0.2")))
    second = held.snapshot(2).view(proxyless())
    after = {each: second.named(each, CLUSTER) for each in (RDS, CDS, EDS)}
    assert [each for each in before if before[each] is not after[each]] == [EDS]
    assert second.renewed(EDS, first.generation) == {CLUSTER}
    assert second.renewed(RDS, first.generation) == frozenset()
    assert second.key == first.key
    assert first.renewed(EDS, first.generation) is None
    assert second.family(SDS) is None
    assert second.renewed(SDS, first.generation) is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        pytest.param("tls: {mode: SIMPLE}", "tls.mode SIMPLE", id="tls"),
        pytest.param("proxyProtocol: {version: V2}", "proxyProtocol", id="proxy-protocol"),
        pytest.param("tunnel: {targetHost: a.test, targetPort: 443}", "tunnel", id="tunnel"),
        pytest.param(
            "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 9s}}",
            "loadBalancer.warmup",
            id="warmup",
        ),
        pytest.param("retryBudget: {percent: 20}", "retryBudget", id="budget"),
    ],
)
def test_what_clusters_leave_out_is_told(settings: str, told: str) -> None:
    snapshot = world(service(), rule(settings)).snapshot(1)
    assert snapshot.view(proxyless()).named(CDS, CLUSTER) is not None
    (finding,) = [
        each for each in snapshot.findings([proxyless()]) if each.fault is Fault.PROXYLESS
    ]
    assert told in finding.message


@pytest.mark.parametrize(
    ("http", "told"),
    [
        pytest.param("[{redirect: {authority: a}}]", "redirect: such calls fail", id="redirect"),
        pytest.param(
            "[{directResponse: {status: 404}}]", "direct_response: such calls fail", id="answer"
        ),
        pytest.param(
            "[{retries: {attempts: 2, perTryTimeout: 1s}, route: [{destination: {host: web}}]}]",
            "retries.perTryTimeout",
            id="per-try-timeout",
        ),
    ],
)
def test_what_routes_leave_out_is_told(http: str, told: str) -> None:
    snapshot = world(service(), routes(http)).snapshot(1)
    assert snapshot.view(proxyless()).named(RDS, CLUSTER) is not None
    (finding,) = [
        each for each in snapshot.findings([proxyless()]) if each.fault is Fault.PROXYLESS
    ]
    assert told in finding.message


@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        ("httpHeaderName: user", ["header"]),
        ("useSourceIp: true", ["filter_state"]),
        ("httpCookie: {name: c, ttl: 1s}", []),
    ],
)
def test_what_a_hash_may_be_of(key: str, kinds: list[str]) -> None:
    sticky = rule(f"loadBalancer: {{consistentHash: {{{key}}}}}")
    (route,) = found(RDS, CLUSTER, service(), sticky).virtual_hosts[0].routes
    assert [each.WhichOneof("policy_specifier") for each in route.route.hash_policy] == kinds


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        pytest.param(
            '{attempts: 3, retryOn: "unavailable,5xx", backoff: 0.5s}',
            {
                "retry_on": "unavailable",
                "num_retries": 3,
                "retry_back_off": {"base_interval": "0.500s"},
            },
            id="back-off",
        ),
        pytest.param("{attempts: 0}", None, id="none"),
    ],
)
def test_retries(retries: str, expected: dict[str, Any] | None) -> None:
    http = f"[{{retries: {retries}, route: [{{destination: {{host: web}}}}]}}]"
    (route,) = found(RDS, CLUSTER, service(), routes(http)).virtual_hosts[0].routes
    assert as_dict(route)["route"].get("retry_policy") == expected


def test_a_service_without_names_or_endpoints_to_find_has_no_cluster() -> None:
    nowhere = service().replace("STATIC", "DNS").replace("10.0.0.1", "unix:///run/x")
    assert found(CDS, CLUSTER, nowhere) is None
    assert found(CDS, CLUSTER, service().replace("STATIC", "NONE").split("  endpoints")[0]) is None


def test_ejection_without_errors_to_count() -> None:
    made = found(CDS, CLUSTER, service(), rule("outlierDetection: {interval: 2s}"))
    assert not made.HasField("outlier_detection")
    some = rule("outlierDetection: {consecutiveGatewayErrors: 2, maxEjectionPercent: 40}")
    detection = found(CDS, CLUSTER, service(), some).outlier_detection
    assert detection.failure_percentage_request_volume.value == 2
    assert detection.max_ejection_percent.value == 40
