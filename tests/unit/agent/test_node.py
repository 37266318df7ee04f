"""Node ID, metadata, cluster and locality (citadel-and-agent.md B1, B5; pilot.md A1 to A5)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mast.agent.core.node import (
    ISTIO_VERSION,
    Locality,
    Node,
    Surroundings,
    downward_api,
    envoy_environment,
    node,
)
from mast.agent.core.proxy_config import merged

BASE = Surroundings(
    env={},
    hostname="laptop",
    instance_ip="10.1.2.3",
    pod_name="reviews-1",
    namespace="shop",
    service_account="reviews",
)


def made(overlay: dict[str, Any] | None = None, **changes: Any) -> Node:
    return node(replace(BASE, **changes), merged({"test": overlay or {}}))


@pytest.mark.parametrize(
    ("changes", "node_id"),
    [
        pytest.param({}, "sidecar~10.1.2.3~reviews-1.shop~shop.svc.cluster.local", id="pod"),
        pytest.param(
            {"role": "router", "domain": "shop.svc.example.org"},
            "router~10.1.2.3~reviews-1.shop~shop.svc.example.org",
            id="router-with-domain",
        ),
        pytest.param(
            {"pod_name": "", "namespace": "", "instance_ip": ""},
            "sidecar~127.0.0.1~laptop.default~default.svc.cluster.local",
            id="nothing-known",
        ),
        pytest.param(
            {"instance_ip": "", "addresses": ["127.0.0.1", "8.8.8.8", "10.9.9.9", "fe80::1"]},
            "sidecar~10.9.9.9~reviews-1.shop~shop.svc.cluster.local",
            id="first-private-address",
        ),
    ],
)
def test_id(changes: dict[str, Any], node_id: str) -> None:
    assert made(**changes).id == node_id


@pytest.mark.parametrize(
    ("changes", "ips"),
    [
        pytest.param({}, "10.1.2.3", id="instance-ip"),
        pytest.param(
            {"addresses": ["10.1.2.3", "fd00::5", "169.254.0.1"]}, "10.1.2.3,fd00::5", id="dual"
        ),
        pytest.param(
            {"env": {"ISTIO_META_INSTANCE_IPS": "127.1.2.3, 127.1.2.4"}},
            "10.1.2.3,127.1.2.3,127.1.2.4",
            id="explicit-behind-instance-ip",
        ),
        pytest.param(
            {"env": {"ISTIO_META_INTERCEPTION_MODE": "NONE"}, "addresses": ["10.7.7.7"]},
            "10.1.2.3",
            id="none-mode-stands-alone",
        ),
    ],
)
def test_instance_ips(changes: dict[str, Any], ips: str) -> None:
    assert made(**changes).metadata["INSTANCE_IPS"] == ips


def test_metadata_of_a_pod() -> None:
    found = made(
        {"meshId": "mesh1", "proxyMetadata": {"ANY": "x"}},
        env={
            "ISTIO_META_CLUSTER_ID": "east",
            "ISTIO_META_NETWORK": "net1",
            "ISTIO_META_WORKLOAD_NAME": "reviews-v1",
            "ISTIO_META_OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/reviews-v1",
            "ISTIO_META_DNS_CAPTURE": "true",
            "ISTIO_META_AUTO_REGISTER_GROUP": "reviews-v1",
            "ISTIO_METAJSON_LABELS": '{"app":"reviews","version":"v1"}',
            "ISTIO_METAJSON_EXTRA": '{"REQUESTED_NETWORK_VIEW":["net1"]}',
            "UNRELATED": "x",
        },
        labels={"version": "v2", "pod-template-hash": "abc"},
        annotations={"a": "b"},
        exit_on_zero=True,
        sts_port=15463,
    ).metadata
    expected = {
        "NAME": "reviews-1",
        "NAMESPACE": "shop",
        "SERVICE_ACCOUNT": "reviews",
        "CLUSTER_ID": "east",
        "NETWORK": "net1",
        "MESH_ID": "mesh1",
        "WORKLOAD_NAME": "reviews-v1",
        "OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/reviews-v1",
        "DNS_CAPTURE": "true",
        "AUTO_REGISTER_GROUP": "reviews-v1",
        "INTERCEPTION_MODE": "REDIRECT",
        "ISTIO_VERSION": "1.30.3",
        "ENVOY_STATUS_PORT": 15021,
        "ENVOY_PROMETHEUS_PORT": 15090,
        "REQUESTED_NETWORK_VIEW": ["net1"],
        "STATIC_LABELS": {"app": "reviews", "version": "v1"},
        "LABELS": {"app": "reviews", "version": "v2"},
        "ANNOTATIONS": {"a": "b"},
        "STS_PORT": "15463",
        "EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true",
        "PILOT_SAN": ["istiod.istio-system.svc"],
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["PROXY_CONFIG"]["meshId"] == "mesh1"
    assert json.dumps(dict(found)), "every value is JSON"
    assert "UNRELATED" not in found


def test_explicit_metadata_wins() -> None:
    env = {"ISTIO_META_MESH_ID": "mine", "ISTIO_META_ISTIO_VERSION": "1.4.10"}
    found = made({"meshId": "theirs", "interceptionMode": "TPROXY"}, env=env).metadata
    assert (found["MESH_ID"], found["ISTIO_VERSION"]) == ("mine", "1.4.10")
    assert found["INTERCEPTION_MODE"] == "TPROXY"


def test_endpoints_of_the_laptop_are_an_object() -> None:
    text = '{"9080":"127.0.0.1:43121"}'
    for env in (
        {"ISTIO_META_APP_ENDPOINTS": text},
        {"ISTIO_METAJSON_MAST": f'{{"APP_ENDPOINTS":{text}}}'},
    ):
        assert made(env=env).metadata["APP_ENDPOINTS"] == {"9080": "127.0.0.1:43121"}


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("ISTIO_METAJSON_LABELS", "{", "no JSON"),
        ("ISTIO_METAJSON_X", "[1]", "want a JSON object"),
        ("ISTIO_META_APP_ENDPOINTS", "9080", "want a JSON object"),
    ],
)
def test_unreadable_metadata_is_named(variable: str, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"{variable}: {problem}"):
        made(env={variable: text})


@pytest.mark.parametrize(
    "text", ['{"app":"reviews"}', '{"LABELS":{"app":"reviews"}}'], ids=["bare", "named"]
)
def test_labels_in_both_forms(text: str) -> None:
    assert made(env={"ISTIO_METAJSON_LABELS": text}).metadata["LABELS"] == {"app": "reviews"}


def test_labels_must_be_texts() -> None:
    with pytest.raises(ValueError, match="LABELS: want a JSON object"):
        made(env={"ISTIO_METAJSON_X": '{"LABELS":3}'})


APP = {"ISTIO_METAJSON_LABELS": '{"app":"reviews"}'}
CANONICAL = {"ISTIO_METAJSON_LABELS": '{"app":"x","service.istio.io/canonical-name":"reviews"}'}


@pytest.mark.parametrize(
    ("overlay", "changes", "cluster"),
    [
        pytest.param({}, {}, "istio-proxy.shop", id="nothing-known"),
        pytest.param({}, {"env": APP}, "reviews.shop", id="app-label"),
        pytest.param({}, {"env": {"ISTIO_META_WORKLOAD_NAME": "r-v1"}}, "r-v1.shop", id="workload"),
        pytest.param({"serviceCluster": "front"}, {"env": APP}, "front", id="configured"),
        pytest.param({}, {"service_cluster": "flag", "env": APP}, "flag", id="flag"),
        pytest.param(
            {"tracingServiceName": "CANONICAL_NAME_ONLY"},
            {"env": CANONICAL},
            "reviews",
            id="canonical",
        ),
        pytest.param(
            {"tracingServiceName": "CANONICAL_NAME_AND_NAMESPACE"},
            {"env": CANONICAL},
            "reviews.shop",
            id="canonical-and-namespace",
        ),
        pytest.param(
            {"tracingServiceName": "APP_LABEL_AND_NAMESPACE"},
            {"env": APP},
            "reviews.shop",
            id="app-and-namespace",
        ),
    ],
)
def test_cluster(overlay: dict[str, Any], changes: dict[str, Any], cluster: str) -> None:
    assert made(overlay, **changes).cluster == cluster


@pytest.mark.parametrize(
    ("labels", "locality"),
    [
        ({}, Locality()),
        ({"istio-locality": "eu.west.rack1"}, Locality("eu", "west", "rack1")),
        ({"topology.istio.io/locality": "eu/west"}, Locality("eu", "west")),
        (
            {"topology.istio.io/locality": "eu/west", "istio-locality": "us"},
            Locality("eu", "west"),
        ),
    ],
)
def test_locality(labels: dict[str, str], locality: Locality) -> None:
    assert made(labels=labels).locality == locality


def test_identity() -> None:
    found = made(trust_domain="me@corp", env={"ISTIO_META_CLUSTER_ID": "east"})
    assert found.spiffe_id == "spiffe://me.corp/ns/shop/sa/reviews"
    assert found.cluster_id == "east"
    assert made(service_account="").spiffe_id == "spiffe://cluster.local/ns/shop/sa/default"


def test_address_family() -> None:
    assert not made().ipv6_only
    assert made(instance_ip="fd00::1").ipv6_only


def test_downward_api() -> None:
    text = 'app="reviews"\nquoted="a \\"b\\" = c"\n\nno separator\n'
    assert downward_api(text) == {"app": "reviews", "quoted": 'a "b" = c'}
    with pytest.raises(ValueError, match="not quoted"):
        downward_api("app=reviews")


def test_envoy_knows_who_the_proxy_is() -> None:
    """Mixer's filters refer to these variables, whatever tells the agent (mixer_proxy.md C.5)."""
    env = {"PATH": "/bin", "POD_NAME": "told", "POD_NAMESPACE": "", "ISTIO_META_MESH_ID": "east"}
    assert envoy_environment(env, made(env=env)) == {
        "PATH": "/bin",
        "POD_NAME": "told",
        "POD_NAMESPACE": "shop",
        "INSTANCE_IP": "10.1.2.3",
        "ISTIO_META_ISTIO_VERSION": ISTIO_VERSION,
        "ISTIO_META_MESH_ID": "east",
    }
    assert "ISTIO_META_MESH_ID" not in envoy_environment({}, made())
    assert envoy_environment({}, made({"meshId": "west"}))["ISTIO_META_MESH_ID"] == "west"
