"""What Pilot reads out of an Envoy Node (pilot.md A1 to A4)."""

import pytest
from envoy.config.core.v3.base_pb2 import Node

from mast.pilot.core.model.proxy import (
    NEWEST,
    InterceptionMode,
    InvalidNode,
    Locality,
    ProxyType,
    parse,
)

ID = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local"


def node(node_id: str = ID, **metadata: object) -> Node:
    made = Node(id=node_id, cluster="web.shop")
    made.metadata.update(metadata)
    return made


def test_the_node_id_says_type_address_name_and_domain():
    proxy = parse(node())
    assert proxy.type is ProxyType.SIDECAR
    assert proxy.ip_addresses == ("10.0.0.1",)
    assert (proxy.id, proxy.name, proxy.namespace) == ("web-1.shop", "web-1", "shop")
    assert proxy.dns_domain == "shop.svc.cluster.local"
    assert (proxy.node_id, proxy.cluster) == (ID, "web.shop")


@pytest.mark.parametrize(
    ("node_id", "field"),
    [
        pytest.param("", "four parts", id="empty"),
        pytest.param("sidecar~10.0.0.1~web.shop", "four parts", id="three-parts"),
        pytest.param(ID + "~x", "four parts", id="five-parts"),
        pytest.param("ingress~10.0.0.1~web.shop~d", "'ingress' is not one of", id="unknown-type"),
        pytest.param("sidecar~~web.shop~d", "no IP address", id="no-address"),
        pytest.param("sidecar~10.0.0.1~web/x~d", "must not contain '/'", id="slash"),
        pytest.param("sidecar~localhost~web.shop~d", "no IP address", id="name-for-address"),
    ],
)
def test_bad_node_ids_say_what_is_wrong(node_id, field):
    with pytest.raises(InvalidNode, match=field):
        parse(node(node_id))


@pytest.mark.parametrize(
    ("ips", "addresses", "ipv4", "ipv6"),
    [
        pytest.param("10.0.0.2", ("10.0.0.2",), True, False, id="v4"),
        pytest.param("10.0.0.2, 10.0.0.3", ("10.0.0.2", "10.0.0.3"), True, False, id="two"),
        pytest.param("fd00::1", ("fd00::1",), False, True, id="v6"),
        pytest.param("10.0.0.2,fd00::1", ("10.0.0.2", "fd00::1"), True, True, id="dual-stack"),
        pytest.param("nonsense,10.0.0.2", ("10.0.0.2",), True, False, id="bad-one-skipped"),
        pytest.param("", ("10.0.0.1",), True, False, id="empty-is-the-node-id"),
    ],
)
def test_addresses(ips, addresses, ipv4, ipv6):
    proxy = parse(node(INSTANCE_IPS=ips))
    assert proxy.ip_addresses == addresses
    assert (proxy.ipv4, proxy.ipv6) == (ipv4, ipv6)


def test_the_namespace_is_metadata_before_domain():
    assert parse(node(NAMESPACE="other")).namespace == "other"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param("1.30.3", (1, 30, 3), id="full"),
        pytest.param("1.4", (1, 4, 0), id="minor"),
        pytest.param("1.31-alpha.2b1", (1, 31, 0), id="suffix"),
        pytest.param("", NEWEST, id="absent"),
        pytest.param("main", NEWEST, id="word"),
    ],
)
def test_version(text, version):
    assert parse(node(ISTIO_VERSION=text)).version == version


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param(
            {
                "topology.kubernetes.io/region": "r",
                "topology.kubernetes.io/zone": "z",
                "topology.istio.io/subzone": "s",
            },
            Locality("r", "z", "s"),
            id="labels",
        ),
        pytest.param({"topology.istio.io/locality": "a/b/c"}, Locality("a", "b", "c"), id="label"),
        pytest.param({"istio-locality": "a.b"}, Locality("a", "b"), id="dotted-label"),
        pytest.param({}, Locality("node-region"), id="node"),
    ],
)
def test_locality(metadata, expected):
    made = node(LABELS=metadata)
    made.locality.region = "node-region"
    assert parse(made).locality == expected


def test_locality_as_text():
    assert str(Locality("a", "b")) == "a/b"
    assert str(Locality()) == ""
    assert Locality.parse("a/b/c") == Locality("a", "b", "c")


def test_labels_tell_what_and_where_it_is():
    proxy = parse(
        node(
            STATIC_LABELS={"app": "web", "tier": "front"},
            LABELS={"app": "shop", "istio-locality": "eu.west"},
            CLUSTER_ID="c1",
            NETWORK="n1",
            NODE_NAME="host-7",
        )
    )
    assert proxy.labels == {
        "app": "shop",
        "tier": "front",
        "istio-locality": "eu.west",
        "topology.kubernetes.io/region": "eu",
        "topology.kubernetes.io/zone": "west",
        "topology.istio.io/cluster": "c1",
        "topology.istio.io/network": "n1",
        "kubernetes.io/hostname": "host-7",
    }


def test_labels_of_the_registry_replace_what_the_proxy_says_of_itself():
    proxy = parse(node(STATIC_LABELS={"tier": "front", "app": "x"}, LABELS={"forged": "yes"}))
    known = proxy.with_registry_labels({"app": "web", "istio-locality": "eu.west"})
    assert known.labels == {
        "tier": "front",
        "app": "web",
        "istio-locality": "eu.west",
        "topology.kubernetes.io/region": "eu",
        "topology.kubernetes.io/zone": "west",
    }
    assert known.locality == Locality("eu", "west")


def test_interception():
    proxy = parse(
        node(
            INTERCEPTION_MODE="NONE",
            HTTP_PROXY_PORT=15080,
            OUTBOUND_BIND="127.2.0.1",
            APP_ENDPOINTS={"9080": "127.0.0.1:43121"},
        )
    )
    assert proxy.interception_mode is InterceptionMode.NONE
    assert proxy.http_proxy_port == 15080
    assert proxy.outbound_bind == "127.2.0.1"
    assert proxy.app_endpoints == {9080: "127.0.0.1:43121"}


def test_interception_by_default():
    proxy = parse(node(INTERCEPTION_MODE="UNHEARD_OF"))
    assert proxy.interception_mode is InterceptionMode.REDIRECT
    assert (proxy.http_proxy_port, proxy.outbound_bind, proxy.app_endpoints) == (None, None, {})


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        pytest.param({"HTTP_PROXY_PORT": "0"}, "HTTP_PROXY_PORT: '0'", id="port-zero"),
        pytest.param({"HTTP_PROXY_PORT": "x"}, "HTTP_PROXY_PORT: 'x'", id="port-word"),
        pytest.param({"APP_ENDPOINTS": {"70000": "a"}}, "APP_ENDPOINTS: '70000'", id="app-port"),
        pytest.param({"LABELS": "app=web"}, "LABELS: want an object", id="labels-text"),
        pytest.param({"LABELS": {"app": 1}}, "LABELS: want an object", id="label-number"),
        pytest.param({"CLUSTER_ID": "a/b"}, "CLUSTER_ID: 'a/b' must not", id="slash"),
        pytest.param({"NAMESPACE": {"a": "b"}}, "NAMESPACE: want text, not dict", id="object"),
    ],
)
def test_bad_metadata_says_which_field(metadata, field):
    with pytest.raises(InvalidNode, match=field):
        parse(node(**metadata))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", True),
        (True, True),
        (1, True),
        ("TRUE", True),
        ("0", False),
        ("", False),
        (False, False),
    ],
    ids=repr,
)
def test_switches(value, expected):
    assert parse(node(DNS_CAPTURE=value)).flag("DNS_CAPTURE") is expected


def test_other_metadata_is_at_hand():
    proxy = parse(node(GENERATOR="grpc", SERVICE_ACCOUNT="web", OWNER=1.5))
    assert proxy.proxyless
    assert proxy.service_account == "web"
    assert proxy.text("GENERATOR") == "grpc"
    assert proxy.text("OWNER") == proxy.text("ABSENT") == ""
    assert not parse(node()).proxyless


def test_a_proxy_can_be_a_key():
    assert len({parse(node()), parse(node())}) == 1
