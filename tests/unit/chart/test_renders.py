"""Every profile, and combinations of values: Kubernetes and our definitions take the result."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import helm_python
import pytest
import yaml

from tests.support.chart import (
    CHART,
    NAMESPACE,
    PROFILES,
    Object,
    merged,
    name_of,
    notes,
    profile,
    rendered,
    set_values,
)
from tests.support.custom_resources import complaints, definitions
from tests.support.kubernetes_schemas import refusals
from tools.chart.__main__ import ROOT, outdated

GOLDEN = ROOT / "tests" / "golden" / "chart"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
# Of the operator of Prometheus, whose schemas are not here.
FOREIGN = "monitoring.coreos.com/v1"

GATEWAY = {
    "gateways": {
        "istio-egressgateway": {
            "enabled": True,
            "networkGateway": "n1",
            "secretVolumes": [{"name": "certs", "secretName": "certs", "mountPath": "/etc/certs"}],
            "env": {"A": 1, "B": True},
        },
        "istio-ingressgateway": {
            "type": "NodePort",
            "externalTrafficPolicy": "Local",
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
            "serviceAnnotations": {"a": "b"},
            "ports": [{"name": "https", "port": 443, "nodePort": 31390}],
        },
    }
}
PLACED = {
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"a": "b"},
}
GATEWAY_OF_N1 = {"address": "192.0.2.1", "port": 15443}
COMBINATIONS = {
    "revision": {"revision": "canary", "revisionTags": ["prod", "stable"]},
    "plaintext": set_values("global.controlPlaneSecurityEnabled", False),
    "monitors": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "p"}},
        "networkPolicy": {"monitoring": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]},
    },
    "no-policies": set_values("networkPolicy.enabled", False),
    "gateways": GATEWAY,
    "single-etcd": {"etcd": {"replicaCount": 1, "storage": {"ephemeral": True}}},
    "five-etcd": {"etcd": {"replicaCount": 5, "storage": {"className": "ssd"}}},
    "no-snapshots": set_values("etcd.snapshots.enabled", False),
    "placed": {
        **dict.fromkeys(("pilot", "galley", "security", "etcd"), PLACED),
        "mixer": {"policy": PLACED, "telemetry": PLACED},
        "global": {
            "imagePullPolicy": "Always",
            "imagePullSecrets": ["a", {"name": "b"}],
            "priorityClassName": "system-cluster-critical",
            "defaultNodeSelector": {"os": "linux"},
            "defaultTolerations": [{"key": "mesh"}],
        },
    },
    "current-names": {
        "autoscaleMin": 3,
        "traceSampling": 50,
        "env": {"ENABLE_NATIVE_SIDECARS": True},
        "resources": {"requests": {"cpu": 1}},
        "meshConfig": {"accessLogFile": "/dev/stdout", "defaultConfig": {"concurrency": 4}},
    },
    "1.4-names": {
        "global": {
            "mtls": {"enabled": True, "auto": False},
            "useMCP": True,
            "sds": {"enabled": True},
            "disablePolicyChecks": False,
            "trustDomainAliases": ["old.example"],
            "proxy": {"protocolDetectionTimeout": "100ms"},
            "tracer": {"zipkin": {"address": "zipkin:9411"}},
        },
        "security": {"workloadSecrets": True, "trustedNodeAccounts": ["kube-system/ztunnel"]},
        "galley": {"compat": "1.4", "allowedWriters": ["spiffe://cluster.local/ns/ci/sa/deploy"]},
        "mixer": {"adapters": {"stdio": {"enabled": True}, "prometheus": {"enabled": False}}},
    },
    "no-lookups": set_values("mixer.adapters.kubernetesenv.enabled", False),
    "by-default": set_values("sidecarInjectorWebhook.enableNamespacesByDefault", True),
    "no-webhooks": {
        "global": {"configValidation": False},
        "sidecarInjectorWebhook": {"enabled": False},
    },
    "cni": {"cni": {"enabled": True, "repair": {"labelPods": True}}},
    "cni-without-repair": {"cni": {"enabled": True, "repair": {"enabled": False}}},
    "own-ca": set_values("security.selfSigned", False),
    "addresses": set_values("bindAddress", "0.0.0.0"),  # noqa: S104
    "networks": {
        "meshNetworks": {
            "n1": {"endpoints": [{"fromCidr": "10.0.0.0/8"}], "gateways": [GATEWAY_OF_N1]}
        },
        "global": {"network": "n1", "meshID": "m", "multiCluster": {"clusterName": "c1"}},
    },
    "extra": {
        "pilot": {"extraArgs": ["--pushes=3"], "env": {"PILOT_PUSHES": 4}},
        "global": {"logging": {"level": "default:warn,ads:debug"}, "logAsJson": True},
    },
    "remote-by-name": set_values("global.remotePilotAddress", "east.example.com"),
    "remote-by-address": set_values("global.remotePilotAddress", "192.0.2.1"),
    "remote-injection": {
        "istiodRemote": {"injectionURL": "https://a.example/inject", "injectionCABundle": "YQ=="}
    },
}
# Beside the default profile.
BASES = {"revision": ["ha", "remote"], "placed": ["demo"], "monitors": ["external-etcd"]}
CASES = [pytest.param(profile(name), id=name) for name in PROFILES] + [
    pytest.param(merged(profile(base), COMBINATIONS[name]), id=f"{base}+{name}")
    for name in COMBINATIONS
    for base in ["remote" if name.startswith("remote") else "default", *BASES.get(name, ())]
]


@cache
def judged(document: str) -> tuple[str, ...]:
    """What an API server has against an object; the same ones come again and again."""
    found: Object = json.loads(document)
    group, _, version = found["apiVersion"].partition("/")
    if found["apiVersion"] == FOREIGN:
        return ()
    if definition := definitions().get(f"{group}/{found['kind']}"):
        return tuple(complaints(definition, version, found))
    return tuple(refusals(found))


def problems(found: list[Object]) -> Iterator[str]:
    for each in found:
        for problem in judged(json.dumps(each, sort_keys=True)):
            yield f"{name_of(each)}: {problem}"


@pytest.mark.parametrize("values", CASES)
def test_an_api_server_takes_it(values: Object) -> None:
    found = rendered(values)
    assert list(problems(found)) == []
    names = [(each["apiVersion"], name_of(each)) for each in found]
    assert len(names) == len(set(names))
    own = {each["metadata"].get("namespace", NAMESPACE) for each in found}
    assert own <= {NAMESPACE}


@pytest.mark.parametrize("name", PROFILES)
def test_lint(name: str, tmp_path: Path) -> None:
    """With the definitions, which are the same for every profile, once."""
    chart = tmp_path / "mast"
    chart.mkdir()
    for each in CHART.iterdir():
        if each.name != "crds" or name == "default":
            (chart / each.name).symlink_to(each)
    report = helm_python.lint(chart, profile(name), strict=True, namespace=NAMESPACE)
    assert not report["errors"]
    assert [each for each in report["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("name", PROFILES)
def test_golden(name: str) -> None:
    """Review the difference as what is going to run. What dashboards hold is left out."""
    path = GOLDEN / f"{name}.yaml"
    found = rendered(profile(name))
    shown = [each if "dashboard" not in name_of(each) else _shortened(each) for each in found]
    text = yaml.dump_all(shown, Dumper=yaml.CSafeDumper, sort_keys=True, width=120)
    if UPDATE:
        path.write_text(text)
    assert path.read_text() == text


def _shortened(found: Object) -> Object:
    return {**found, "data": dict.fromkeys(found["data"], "")}


def test_every_golden_belongs_to_a_profile() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.yaml" for name in PROFILES}


def test_what_is_made_is_up_to_date() -> None:
    assert outdated() == [], "run `python -m tools.chart`"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param({}, "istio-injection=enabled", id="default"),
        pytest.param({"revision": "canary"}, "istio.io/rev=canary", id="revision"),
        pytest.param(profile("remote"), "create-remote-secret", id="remote"),
        pytest.param(profile("demo"), "etcd keeps its data in pods", id="demo"),
        pytest.param(set_values("global.useMCP", False), "useMCP has no effect", id="obsolete"),
        pytest.param(
            set_values("global.controlPlaneSecurityEnabled", False), "are open", id="plaintext"
        ),
    ],
)
def test_notes(values: Object, told: str) -> None:
    assert told in notes(values)


def test_a_second_revision_stands_beside_the_first() -> None:
    """The values of docs/install.md: no object is of both releases."""
    text = (ROOT / "docs" / "install.md").read_text()
    values = yaml.safe_load(text[text.index("revision: canary") :].partition("```")[0])
    first, second = (
        {(each["apiVersion"], name_of(each)) for each in rendered(given)} for given in ({}, values)
    )
    assert first & second == set()
    assert {name for _, name in second} >= {
        "Deployment/istio-pilot-canary",
        "Deployment/istio-galley-canary",
        "Service/istiod-canary",
        "MutatingWebhookConfiguration/istio-sidecar-injector-canary",
    }


def test_names_move_with_the_namespace() -> None:
    """Nothing is named for istio-system then."""
    found = rendered({}, "mesh")
    assert "istio-system" not in json.dumps(found)
    assert {each["metadata"].get("namespace", "mesh") for each in found} == {"mesh"}
