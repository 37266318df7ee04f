"""Files with which a machine joins a mesh (citadel-and-agent.md B9)."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import ParseDict

from istio.networking.v1alpha3.workload_group_pb2 import WorkloadGroup
from mast.cli.onboarding.files import Choices, files, named
from mast.cli.onboarding.group import Group, new_group

SPEC = {
    "metadata": {"labels": {"app": "web"}, "annotations": {}},
    "template": {
        "labels": {"app": "template", "tier": "front"},
        "ports": {"http": 8080, "admin": 9000},
        "serviceAccount": "web-account",
        "network": "vms",
    },
    "probe": {"httpGet": {"path": "/health", "port": 8080}},
}


def group(spec: dict[str, Any] = SPEC, **annotations: str) -> Group:
    return Group("web", "shop", ParseDict(spec, WorkloadGroup()), annotations)


def made(
    of: Group, mesh: dict[str, Any] | None = None, **choices: Any
) -> tuple[dict[str, str], dict[str, Any], dict[str, str]]:
    """Variables of cluster.env, the ProxyConfig, and all files."""
    found = files(of, mesh or {}, Choices(**choices), roots="ROOTS", token="TOKEN")  # noqa: S106
    lines = [shlex.split(line) for line in found["cluster.env"].splitlines()]
    env = dict(word.split("=", 1) for (word,) in lines)
    return env, yaml.safe_load(found["mesh.yaml"])["defaultConfig"], found


def test_every_file() -> None:
    env, config, found = made(
        group(),
        {"trustDomain": "example.org", "defaultConfig": {"meshId": "m1"}},
        cluster_id="c1",
        ingress_ip="10.0.0.1",
        internal_ip="10.0.0.7",
        register=True,
    )
    labels = {
        "app": "web",
        "tier": "front",
        "service.istio.io/canonical-name": "web",
        "service.istio.io/canonical-revision": "latest",
    }
    metadata = {
        "CANONICAL_SERVICE": "web",
        "CANONICAL_REVISION": "latest",
        "POD_NAMESPACE": "shop",
        "SERVICE_ACCOUNT": "web-account",
        "TRUST_DOMAIN": "example.org",
        "ISTIO_META_CLUSTER_ID": "c1",
        "ISTIO_META_MESH_ID": "m1",
        "ISTIO_META_NETWORK": "vms",
        "ISTIO_META_WORKLOAD_NAME": "web",
        "ISTIO_META_DNS_CAPTURE": "true",
        "ISTIO_META_AUTO_REGISTER_GROUP": "web",
        "ISTIO_META_POD_PORTS": json.dumps(
            [{"containerPort": 9000, "name": "admin"}, {"containerPort": 8080, "name": "http"}],
            separators=(",", ":"),
        ),
        "ISTIO_METAJSON_LABELS": json.dumps(labels, separators=(",", ":"), sort_keys=True),
    }
    assert config == {
        "meshId": "m1",
        "proxyMetadata": metadata,
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8080}},
    }
    assert env == {
        **metadata,
        "ISTIO_INBOUND_PORTS": "8080,9000",
        "ISTIO_LOCAL_EXCLUDE_PORTS": "22,15090,15021,15020",
        "ISTIO_SERVICE_CIDR": "*",
        "ISTIO_NAMESPACE": "shop",
        "ISTIO_SERVICE": "web.shop",
        "ISTIO_SVC_IP": "10.0.0.7",
    }
    assert found["hosts"] == "10.0.0.1 istiod.istio-system.svc\n"
    assert (found["root-cert.pem"], found["istio-token"]) == ("ROOTS", "TOKEN")
    assert all("='" in line for line in found["cluster.env"].splitlines()), "as istioctl quotes"


def test_a_group_of_nothing() -> None:
    env, config, found = made(group({"template": {}}), capture_dns=False)
    assert env["ISTIO_INBOUND_PORTS"] == "*"
    assert env["SERVICE_ACCOUNT"] == "default"
    assert "ISTIO_META_DNS_CAPTURE" not in env
    assert "ISTIO_META_AUTO_REGISTER_GROUP" not in env
    assert "ISTIO_META_POD_PORTS" not in env
    assert "CA_ADDR" not in env
    assert not {"readinessProbe", "discoveryAddress"} & config.keys()
    assert found["hosts"] == ""


def test_a_revision_has_a_name_of_its_own() -> None:
    env, config, found = made(group(), revision="r1", ingress_ip="fd00::1")
    assert env["CA_ADDR"] == "istiod-r1.istio-system.svc:15012"
    assert config["discoveryAddress"] == "istiod-r1.istio-system.svc:15012"
    assert found["hosts"] == "fd00::1 istiod-r1.istio-system.svc\n"
    assert "CA_ADDR" not in made(group(), revision="default")[0]


def test_a_citadel_of_its_own_is_named() -> None:
    env, config, _ = made(group(), discovery="istiod.a.svc:15012", ca="istiod.a.svc:8060")
    assert (env["CA_ADDR"], config["discoveryAddress"]) == (
        "istiod.a.svc:8060",
        "istiod.a.svc:15012",
    )


def test_seen_from_outside() -> None:
    """Others reach it by an address that is not the machine's: it probes itself on localhost."""
    env, _, _ = made(group(), external_ip="192.0.2.7")
    assert env["ISTIO_SVC_IP"] == "192.0.2.7"
    assert env["REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"] == "true"


def test_settings_of_mesh_and_annotations_meet() -> None:
    overlay = "concurrency: 3\nproxyMetadata: {FROM_GROUP: b, BOTH: group}\nstatusPort: 15030"
    env, config, _ = made(
        group(**{"proxy.istio.io/config": overlay}),
        {"defaultConfig": {"concurrency": 1, "proxyMetadata": {"FROM_MESH": "a", "BOTH": "mesh"}}},
    )
    assert config["concurrency"] == 3
    metadata = config["proxyMetadata"]
    assert (metadata["FROM_MESH"], metadata["FROM_GROUP"], metadata["BOTH"]) == ("a", "b", "group")
    assert env["BOTH"] == "group"
    assert env["ISTIO_LOCAL_EXCLUDE_PORTS"] == "22,15090,15021,15030"


@pytest.mark.parametrize(
    ("overlay", "problem"),
    [
        ("concurrency: many", "ProxyConfig of annotation of WorkloadGroup web"),
        ("a: [", "no YAML"),
    ],
)
def test_wrong_annotations_are_named(overlay: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        made(group(**{"proxy.istio.io/config": overlay}))


@pytest.mark.parametrize(
    ("choices", "problem"),
    [
        ({"internal_ip": "10.0.0.1", "external_ip": "10.0.0.2"}, "exclude each other"),
        ({"ingress_ip": "gateway"}, "--ingressIP 'gateway': want an IP address"),
    ],
)
def test_wrong_choices_are_named(choices: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Choices(**choices)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        pytest.param(
            ("10.0.0.1:15012", "10.0.0.1:8060", ""), ("i:15012", "i:8060", "10.0.0.1"), id="laptop"
        ),
        pytest.param(("10.0.0.1:1", "", "10.9.9.9"), ("i:1", "", "10.9.9.9"), id="gateway"),
        pytest.param(("[fd00::1]:1", "x:2", ""), ("i:1", "x:2", "fd00::1"), id="ipv6"),
        pytest.param(("p.svc:1", "c.svc:2", ""), ("p.svc:1", "c.svc:2", ""), id="names-stay"),
        pytest.param(("", "", "10.9.9.9"), ("", "", "10.9.9.9"), id="nothing-known"),
    ],
)
def test_addresses_become_the_control_planes_name(
    given: tuple[str, str, str], wanted: tuple[str, str, str]
) -> None:
    """Certificates have names only (A2)."""
    assert named("i", *given) == wanted


def test_a_new_group() -> None:
    found = new_group(
        "web",
        "shop",
        labels=["app=web,version=v1", "tier=front"],
        annotations=["a=b=c"],
        ports=["http=8080"],
        service_account="web",
    )
    assert found.document() == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "metadata": {
                "annotations": {"a": "b=c"},
                "labels": {"app": "web", "tier": "front", "version": "v1"},
            },
            "template": {"ports": {"http": 8080}, "serviceAccount": "web"},
        },
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"name": "Web"}, "--name 'Web'"),
        ({"namespace": ""}, "--namespace ''"),
        ({"ports": ["http=x"]}, "--ports 'x': want a port"),
        ({"labels": ["app"]}, "--labels 'app': write NAME=VALUE"),
    ],
)
def test_parts_that_are_wrong_are_named(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        new_group(**{"name": "web", "namespace": "shop", **arguments})
