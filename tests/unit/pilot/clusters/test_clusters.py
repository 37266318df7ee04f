"""Outbound clusters: discovery, TLS and metadata (pilot.md C3, D, G5, G6)."""

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node, TransportSocket
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.clusters.clusters import outbound_cluster, service_clusters, sni_dnat_clusters
from mast.pilot.core.clusters.destination_rules import rule_for
from mast.pilot.core.clusters.endpoints import Destination
from mast.pilot.core.model.proxy import Proxy, parse
from tests.support.legacy_objects import policy
from tests.support.mesh_yaml import scope, sidecar_proxy

CALLER = sidecar_proxy("web")
HOST = "a.shop.svc.cluster.local"


def router() -> Proxy:
    return parse(Node(id="router~10.1.0.9~gate.web~web.svc.cluster.local"))


def service(
    resolution: str = "STATIC",
    more: str = "",
    port: str = "{number: 80, name: http, protocol: HTTP}",
) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: a, namespace: shop}}\nspec: {{hosts: [{HOST}], "
        f"location: MESH_INTERNAL, resolution: {resolution}, ports: [{port}]{more}}}\n---\n"
    )


def headless(more: str = "") -> str:
    return (
        "apiVersion: registry.mast/v1\nkind: Service\nmetadata: {name: a}\n"
        f"spec: {{host: {HOST}, namespace: shop, registry: Kubernetes, headless: true, "
        "resolution: RESOLUTION_PASSTHROUGH, "
        f"ports: [{{name: tcp, number: 80, target_port: 8080, protocol: TCP}}]{more}}}\n---\n"
        "apiVersion: registry.mast/v1\nkind: EndpointShard\nmetadata: {name: a}\n"
        f"spec: {{host: {HOST}, namespace: shop, shard: s, endpoints: ["
        "{address: 10.0.0.1, ports: {tcp: 8080}, namespace: shop, tls_mode: istio}]}\n---\n"
    )


def rule(policy: str, more: str = "", namespace: str = "shop") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: a, namespace: {namespace}}}\n"
        f"spec: {{host: {HOST}, trafficPolicy: {policy}{more}}}\n---\n"
    )


def peer_authentication(spec: str) -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
        f"metadata: {{name: p, namespace: shop}}\nspec: {spec}\n---\n"
    )


def old_policy(peers: str, more: str = "") -> str:
    return policy("a", f"{{targets: [{{name: a, {more}}}], peers: {peers}}}")


def made(*texts: str, proxy: Proxy = CALLER, subset: str = "") -> Cluster | None:
    found = scope(proxy, *texts)
    target = found.service(HOST)
    assert target is not None
    destination = Destination(
        target, target.ports[0], subset, rule_for(found, target, proxy.labels)
    )
    return outbound_cluster(destination, found, proxy)


def cluster(*texts: str, proxy: Proxy = CALLER, subset: str = "") -> Cluster:
    found = made(*texts, proxy=proxy, subset=subset)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("texts", "proxy", "kind"),
    [
        pytest.param([service()], CALLER, "EDS", id="static"),
        pytest.param([service("NONE")], CALLER, "ORIGINAL_DST", id="none"),
        pytest.param([service("NONE")], router(), "ORIGINAL_DST", id="none-router"),
        pytest.param([headless()], CALLER, "ORIGINAL_DST", id="headless"),
        pytest.param([headless()], router(), "EDS", id="headless-router"),
        pytest.param(
            [service(), rule("{loadBalancer: {simple: PASSTHROUGH}}")],
            CALLER,
            "ORIGINAL_DST",
            id="passthrough-balancer",
        ),
    ],
)
def test_discovery(texts: list[str], proxy: Proxy, kind: str) -> None:
    found = cluster(*texts, proxy=proxy)
    assert Cluster.DiscoveryType.Name(found.type) == kind
    provided = found.lb_policy == Cluster.CLUSTER_PROVIDED
    assert provided is (kind == "ORIGINAL_DST")
    if kind == "EDS":
        assert found.eds_cluster_config.eds_config.initial_fetch_timeout.seconds == 15
        assert found.eds_cluster_config.eds_config.HasField("ads")


@pytest.mark.parametrize(
    ("texts", "port"),
    [
        pytest.param(
            [service("NONE", port="{number: 80, name: tcp, protocol: TCP, targetPort: 8080}")],
            8080,
            id="entry",
        ),
        pytest.param([service("NONE")], 0, id="same-port"),
        pytest.param([headless()], 0, id="headless"),
    ],
)
def test_the_port_of_the_original_destination(texts: list[str], port: int) -> None:
    assert cluster(*texts).original_dst_lb_config.upstream_port_override.value == port


def dns(found: Cluster) -> DnsCluster:
    assert found.cluster_type.name == "envoy.cluster.dns"
    config = DnsCluster()
    assert found.cluster_type.typed_config.Unpack(config)
    return config


TWO = ", endpoints: [{address: a.test, locality: eu}, {address: b.test, locality: us}]"


@pytest.mark.parametrize(
    ("resolution", "single", "names"),
    [("DNS", False, ["a.test", "b.test"]), ("DNS_ROUND_ROBIN", True, ["a.test"])],
)
def test_names(resolution: str, single: bool, names: list[str]) -> None:
    found = cluster(service(resolution, TWO))
    assert dns(found).all_addresses_in_single_endpoint is single
    assert dns(found).dns_refresh_rate.seconds == 60
    assert dns(found).respect_dns_ttl
    assert [
        each.endpoint.address.socket_address.address
        for locality in found.load_assignment.endpoints
        for each in locality.lb_endpoints
    ] == names


@pytest.mark.parametrize(
    ("ips", "family"),
    [("10.0.0.1", "V4_ONLY"), ("fd00::1", "V6_ONLY"), ("10.0.0.1,fd00::1", "ALL")],
)
def test_names_resolve_to_the_families_of_the_proxy(ips: str, family: str) -> None:
    proxy = sidecar_proxy("web", INSTANCE_IPS=ips)
    assert (
        MessageToDict(dns(cluster(service("DNS", TWO), proxy=proxy)))["dnsLookupFamily"] == family
    )


def test_a_cluster_that_would_resolve_nothing_is_left_out() -> None:
    assert made(service("DNS", ", workloadSelector: {labels: {app: x}}")) is None


def test_a_subset_of_names_without_endpoints_is_left_out() -> None:
    texts = [service("DNS", TWO), rule("{}", ", subsets: [{name: v1, labels: {v: '1'}}]")]
    assert made(*texts, subset="v1") is None


def test_one_cluster_for_each_port_and_subset() -> None:
    ports = (
        "{number: 80, name: http}, {number: 81, name: tcp}, {number: 82, name: udp, protocol: UDP}"
    )
    found = scope(
        CALLER, service(port=ports), rule("{}", ", subsets: [{name: v1, labels: {v: '1'}}]")
    )
    target = found.service(HOST)
    assert target is not None
    clusters = service_clusters(target, rule_for(found, target, {}), found, CALLER)
    assert [each.name for each in clusters] == [
        f"outbound|80||{HOST}",
        f"outbound|80|v1|{HOST}",
        f"outbound|81||{HOST}",
        f"outbound|81|v1|{HOST}",
    ]


def test_metadata() -> None:
    texts = [service(), rule("{}", ", subsets: [{name: v1, labels: {v: '1'}}]")]
    found = cluster(*texts, subset="v1").metadata.filter_metadata["istio"]
    assert MessageToDict(found) == {
        "config": "/apis/networking.istio.io/v1/namespaces/shop/destination-rule/a",
        "default_original_port": 80.0,
        "services": [{"host": HOST, "name": "a", "namespace": "shop"}],
        "subset": "v1",
    }
    outside = service().replace("MESH_INTERNAL", "MESH_EXTERNAL")
    assert cluster(outside).metadata.filter_metadata["istio"]["external"]


def test_sessions_reach_draining_endpoints() -> None:
    labeled = headless(", labels: {istio.io/persistent-session: c}")
    found = cluster(labeled, proxy=router())
    assert [int(each) for each in found.common_lb_config.override_host_status.statuses] == [0, 1, 3]


# TLS


def context(socket: TransportSocket) -> UpstreamTlsContext:
    found = UpstreamTlsContext()
    assert socket.typed_config.Unpack(found)
    return found


def sans(socket: TransportSocket) -> list[str]:
    common = context(socket).common_tls_context
    validation = common.combined_validation_context.default_validation_context
    return [each.matcher.exact for each in validation.match_typed_subject_alt_names]


def sockets(found: Cluster) -> list[str]:
    """Names of the matches, or `always` for a socket without conditions."""
    if found.HasField("transport_socket"):
        return ["always"]
    return [each.name for each in found.transport_socket_matches]


BOTH = ["tlsMode-istio", "tlsMode-disabled"]
NO_AUTO = (
    "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\n"
    "metadata: {name: default, namespace: istio-system}\nspec: {enableAutoMtls: false}\n---\n"
)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([service()], BOTH, id="automatic"),
        pytest.param([service("DNS", TWO)], BOTH, id="names-too"),
        pytest.param([service().replace("INTERNAL", "EXTERNAL")], [], id="external"),
        pytest.param([NO_AUTO, service()], [], id="mesh-says-no"),
        pytest.param([service(), peer_authentication("{mtls: {mode: DISABLE}}")], [], id="server"),
        pytest.param([service(), old_policy("[]")], [], id="old-policy-of-the-service"),
        pytest.param(
            [service(), peer_authentication("{mtls: {mode: DISABLE}}"), old_policy("[{mtls: {}}]")],
            BOTH,
            id="old-policy-of-the-service-over-the-namespace",
        ),
        pytest.param(
            [service(), old_policy("[]", "ports: [{number: 8}]")], BOTH, id="of-another-port"
        ),
        pytest.param([service(), rule("{tls: {mode: DISABLE}}")], [], id="rule-disables"),
        pytest.param([service(), rule("{tls: {mode: ISTIO_MUTUAL}}")], ["always"], id="rule"),
        pytest.param([service(), rule("{tls: {mode: SIMPLE}}")], ["always"], id="simple"),
        pytest.param([headless()], ["always"], id="headless-all-can"),
        pytest.param([headless().replace("tls_mode: istio", "")], [], id="headless-not-all"),
        pytest.param(
            [
                headless(),
                peer_authentication(
                    "{selector: {matchLabels: {a: b}}, portLevelMtls: {8080: {mode: DISABLE}}}"
                ),
            ],
            [],
            id="headless-some-may-not",
        ),
        pytest.param([service("NONE")], [], id="nobody-known"),
    ],
)
def test_mutual_tls(texts: list[str], expected: list[str]) -> None:
    assert sockets(cluster(*texts)) == expected


SELECTOR = ", workloadSelector: {labels: {app: a}}"
WORKLOAD = (
    "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
    "metadata: {name: w, namespace: shop}\n"
    "spec: {address: 10.0.0.1, labels: {app: a}, serviceAccount: sa}\n---\n"
)
ALIASES = NO_AUTO.replace("enableAutoMtls: false", "trustDomainAliases: [old]")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(
            [service("STATIC", SELECTOR), WORKLOAD],
            ["spiffe://cluster.local/ns/shop/sa/sa"],
            id="accounts",
        ),
        pytest.param(
            [ALIASES, service("STATIC", SELECTOR), WORKLOAD],
            ["spiffe://cluster.local/ns/shop/sa/sa", "spiffe://old/ns/shop/sa/sa"],
            id="aliases",
        ),
        pytest.param(
            [service("STATIC", SELECTOR + ", subjectAltNames: [spiffe://x]"), WORKLOAD],
            ["spiffe://cluster.local/ns/shop/sa/sa", "spiffe://x"],
            id="entry",
        ),
        pytest.param(
            [
                service("STATIC", SELECTOR),
                WORKLOAD,
                rule("{tls: {mode: ISTIO_MUTUAL, subjectAltNames: [spiffe://y]}}"),
            ],
            ["spiffe://y"],
            id="rule",
        ),
        pytest.param(
            [
                headless(", annotations: {alpha.istio.io/kubernetes-serviceaccounts: 'b,c'}"),
                rule("{tls: {mode: ISTIO_MUTUAL}}"),
            ],
            ["spiffe://cluster.local/ns/shop/sa/b", "spiffe://cluster.local/ns/shop/sa/c"],
            id="annotation",
        ),
        pytest.param([service()], [], id="nobody-known"),
    ],
)
def test_identities(texts: list[str], expected: list[str]) -> None:
    found = cluster(*texts)
    socket = found.transport_socket
    if not found.HasField("transport_socket"):
        socket = found.transport_socket_matches[0].transport_socket
    assert sans(socket) == expected


@pytest.mark.parametrize(
    ("protocol", "policy", "expected"),
    [
        ("HTTP", "{}", ["istio-http/1.1", "istio", "http/1.1"]),
        ("GRPC", "{}", ["istio-h2", "istio", "h2"]),
        ("TCP", "{}", ["istio-peer-exchange", "istio"]),
        ("''", "{}", ["istio-peer-exchange", "istio"]),
        (
            "HTTP",
            "{connectionPool: {http: {useClientProtocol: true}}}",
            ["istio-peer-exchange", "istio"],
        ),
    ],
)
def test_alpn_within_the_mesh(protocol: str, policy: str, expected: list[str]) -> None:
    text = service(port=f"{{number: 80, name: p, protocol: {protocol}}}")
    found = cluster(text, rule(policy)).transport_socket_matches[0].transport_socket
    assert list(context(found).common_tls_context.alpn_protocols) == expected


@pytest.mark.parametrize(
    ("tls", "subset", "expected"),
    [
        pytest.param("", "", f"outbound_.80_._.{HOST}", id="automatic"),
        pytest.param("", "v1", f"outbound_.80_.v1_.{HOST}", id="subset"),
        pytest.param("tls: {mode: ISTIO_MUTUAL, sni: x}", "", "x", id="given"),
    ],
)
def test_server_name_within_the_mesh(tls: str, subset: str, expected: str) -> None:
    texts = [service(), rule(f"{{{tls}}}", ", subsets: [{name: v1, labels: {v: '1'}}]")]
    found = cluster(*texts, subset=subset)
    socket = found.transport_socket if tls else found.transport_socket_matches[0].transport_socket
    assert context(socket).sni == expected


@pytest.mark.parametrize(("protocol", "alpn"), [("HTTP", []), ("HTTP2", ["h2"]), ("TCP", [])])
def test_tls_to_others_is_marked(protocol: str, alpn: list[str]) -> None:
    text = service(port=f"{{number: 80, name: p, protocol: {protocol}}}")
    found = cluster(text, rule("{tls: {mode: SIMPLE, sni: x}}"))
    assert list(context(found.transport_socket).common_tls_context.alpn_protocols) == alpn
    assert found.metadata.filter_metadata["istio"]["alpn_override"] == "false"


CREDENTIAL = "{tls: {mode: SIMPLE, sni: x, credentialName: c}}"


@pytest.mark.parametrize(
    ("policy", "more", "proxy", "secret"),
    [
        pytest.param(CREDENTIAL, "", router(), "kubernetes://c-cacert", id="router"),
        pytest.param(CREDENTIAL, "", CALLER, "file-root:system", id="sidecar"),
        pytest.param(
            CREDENTIAL.replace("c}", "'configmap://c'}"),
            "",
            CALLER,
            "configmap://c-cacert",
            id="map",
        ),
        pytest.param(
            CREDENTIAL,
            ", workloadSelector: {matchLabels: {app: x}}",
            sidecar_proxy("web", labels={"app": "x"}),
            "kubernetes://c-cacert",
            id="own-rule",
        ),
    ],
)
def test_who_may_use_a_credential(policy: str, more: str, proxy: Proxy, secret: str) -> None:
    found = cluster(service(), rule(policy, more, "web"), proxy=proxy)
    common = context(found.transport_socket).common_tls_context
    name = common.combined_validation_context.validation_context_sds_secret_config.name
    assert name == secret


@pytest.mark.parametrize(
    ("texts", "inner"),
    [
        pytest.param(["{tls: {mode: DISABLE}, proxyProtocol: {}}"], "raw_buffer", id="plain"),
        pytest.param(
            ["{tls: {mode: ISTIO_MUTUAL}, proxyProtocol: {version: V2}}"], "tls", id="tls"
        ),
    ],
)
def test_proxy_protocol(texts: list[str], inner: str) -> None:
    found = cluster(service(), rule(*texts)).transport_socket
    wrapped = ProxyProtocolUpstreamTransport()
    assert found.typed_config.Unpack(wrapped)
    assert wrapped.transport_socket.name == f"envoy.transport_sockets.{inner}"
    assert wrapped.config.version == (1 if "V2" in texts[0] else 0)


def test_proxy_protocol_goes_before_each_choice() -> None:
    found = cluster(service(), rule("{proxyProtocol: {version: V1}}"))
    assert sockets(found) == BOTH
    names = {each.transport_socket.name for each in found.transport_socket_matches}
    assert names == {"envoy.transport_sockets.upstream_proxy_protocol"}


@pytest.mark.parametrize("resolution", ["STATIC", "DNS"])
def test_clusters_that_pass_mutual_tls_on(resolution: str) -> None:
    found = scope(router(), service(resolution, TWO if resolution == "DNS" else ""))
    target = found.service(HOST)
    assert target is not None
    (passing,) = sni_dnat_clusters(target, None, found, router())
    assert passing.name == f"outbound_.80_._.{HOST}"
    assert passing.alt_stat_name == f"outbound_.80_._.{HOST};"
    assert sockets(passing) == []
    if resolution == "STATIC":
        assert passing.eds_cluster_config.service_name == f"outbound|80||{HOST}"


def test_nothing_is_passed_on_to_nobody() -> None:
    found = scope(router(), service("DNS", ", workloadSelector: {labels: {app: x}}"))
    target = found.service(HOST)
    assert target is not None
    assert not list(sni_dnat_clusters(target, None, found, router()))
