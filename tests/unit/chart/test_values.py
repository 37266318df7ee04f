"""The schema of values: what Istio's users set is taken, what is no value or a wrong one is not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import helm_python
import pytest
import yaml

from tests.support.chart import CHART, Object, chart, merged, set_values, texts
from tools.chart.schema import schema
from tools.chart.values import values

FOUND = values((CHART / "values.yaml").read_text())

# E1: values of the charts istio (1.4) and base, istiod, gateway (current), with what users set.
OF_ISTIO: list[tuple[str, Any]] = [
    ("global.hub", "docker.io/example"),
    ("global.tag", "1.4.10"),
    ("global.tag", 1.4),
    ("global.logging.level", "default:debug,ads:info"),
    ("global.mtls.enabled", True),
    ("global.mtls.auto", False),
    ("global.controlPlaneSecurityEnabled", False),
    ("global.disablePolicyChecks", False),
    ("global.policyCheckFailOpen", True),
    ("global.enableTracing", False),
    ("global.outboundTrafficPolicy.mode", "REGISTRY_ONLY"),
    ("global.configValidation", False),
    ("global.useMCP", True),
    ("global.sds.enabled", False),
    ("global.trustDomain", "mesh.example"),
    ("global.meshID", "m"),
    ("global.defaultResources", {"requests": {"cpu": "20m"}}),
    ("global.defaultPodDisruptionBudget.enabled", False),
    ("global.multiCluster.clusterName", "east"),
    ("global.priorityClassName", "high"),
    ("global.proxy.image", "proxyv2"),
    ("global.proxy.clusterDomain", "k8s.example"),
    ("global.proxy.resources.limits.cpu", 2),
    ("global.proxy.concurrency", 0),
    ("global.proxy.accessLogFile", "/dev/stdout"),
    ("global.proxy.accessLogEncoding", "JSON"),
    ("global.proxy.logLevel", "debug"),
    ("global.proxy.statusPort", 0),
    ("global.proxy.readinessInitialDelaySeconds", 1),
    ("global.proxy.includeIPRanges", "10.0.0.0/8"),
    ("global.proxy.excludeInboundPorts", 22),
    ("global.proxy.protocolDetectionTimeout", "100ms"),
    ("global.proxy.autoInject", "disabled"),
    ("global.proxy.tracer", "zipkin"),
    ("pilot.autoscaleMin", 2),
    ("pilot.cpu.targetAverageUtilization", 60),
    ("pilot.rollingMaxSurge", 1),
    ("pilot.traceSampling", 0.5),
    ("pilot.env.ENABLE_NATIVE_SIDECARS", True),
    ("mixer.telemetry.loadshedding.latencyThreshold", "50ms"),
    ("mixer.telemetry.reportBatchMaxEntries", 50),
    ("mixer.adapters.kubernetesenv.enabled", False),
    ("galley.replicaCount", 2),
    ("cni.enabled", True),
    ("istio_cni.enabled", True),
    ("pilot.cni.enabled", True),
    ("security.selfSigned", False),
    ("security.workloadCertTtl", "2160h"),
    ("sidecarInjectorWebhook.enableNamespacesByDefault", True),
    ("sidecarInjectorWebhook.rewriteAppHTTPProbe", False),
    ("gateways.istio-ingressgateway.type", "NodePort"),
    ("gateways.istio-ilbgateway.enabled", True),
    ("autoscaleEnabled", False),
    ("revision", "1-30"),
    ("revisionTags", ["prod"]),
    ("meshConfig", {"accessLogFile": "/dev/stdout"}),
    ("global.caAddress", "ca.example:15012"),
    ("global.pilotCertProvider", "k8s.io/ca.example/mesh"),
    ("global.network", "n1"),
    ("global.istioNamespace", "mesh"),
]
WRONG: list[tuple[str, Any, str]] = [
    ("global.hubs", "a", "hubs"),
    ("pilots", {}, "pilots"),
    ("pilot.replicas", 2, "replicas"),
    ("gateways.istio-ingressgateway.autoscale", True, "autoscale"),
    ("gateways.mine.enabled", True, "mine"),
    ("global.mtls.enabled", "yes", "global/mtls/enabled"),
    ("global.outboundTrafficPolicy.mode", "ALLOW", "mode"),
    ("global.proxy.accessLogEncoding", "YAML", "accessLogEncoding"),
    ("global.proxy.statusPort", 70000, "statusPort"),
    ("global.trustDomain", "", "trustDomain"),
    ("global.multiCluster.clusterName", "a/b", "clusterName"),
    ("global.logging.level", "loud", "level"),
    ("global.proxy.protocolDetectionTimeout", "soon", "protocolDetectionTimeout"),
    ("pilot.autoscaleMin", 0, "autoscaleMin"),
    ("pilot.cpu.targetAverageUtilization", 101, "targetAverageUtilization"),
    ("pilot.rollingMaxSurge", "many", "rollingMaxSurge"),
    ("pilot.traceSampling", 101, "traceSampling"),
    ("pilot.resources.limits.cpu", "much", "cpu"),
    ("pilot.resources.wishes", {}, "wishes"),
    ("pilot.env", {"A": []}, "env"),
    ("mixer.telemetry.loadshedding.mode", "maybe", "mode"),
    ("security.workloadCertTtl", "24", "workloadCertTtl"),
    ("etcd.image", "example.com/etcd", "image"),
    ("etcd.image", "example.com/etcd:latest", "image"),
    ("etcd.replicaCount", 2, "replicaCount"),
    ("etcd.storage.size", "big", "size"),
    ("etcd.root", "mast", "root"),
    ("revision", "Canary", "revision"),
    ("revision", "a" * 60, "revision"),
    ("bindAddress", "*", "bindAddress"),
    ("gateways.istio-ingressgateway.ports", [], "ports"),
    ("gateways.istio-ingressgateway.ports", [{"name": "a", "port": 0}], "port"),
    ("gateways.istio-ingressgateway.type", "Balancer", "type"),
    ("global.imagePullPolicy", "Sometimes", "imagePullPolicy"),
]


@cache
def of_defaults() -> Mapping[str, str]:
    return texts({})


@pytest.mark.parametrize(("path", "value"), OF_ISTIO, ids=[path for path, _ in OF_ISTIO])
def test_values_of_istio_are_taken(path: str, value: Any) -> None:
    """Each changes what is rendered, or the notes say that it has no effect."""
    given = set_values(path, value)
    found = texts(given)
    default: Any = chart().values
    for part in path.split("."):
        default = default[part] if isinstance(default, dict) and part in default else None
    if default != value and path not in {"global.useMCP", "global.sds.enabled"}:
        assert found != of_defaults()


@pytest.mark.parametrize(
    ("path", "value", "named"), WRONG, ids=[f"{path}={value}"[:60] for path, value, _ in WRONG]
)
def test_others_are_refused(path: str, value: Any, named: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=named):
        chart().validate_schema(set_values(path, value))


def test_rendering_refuses_them_too() -> None:
    with pytest.raises(helm_python.HelmError, match="hubs"):
        chart().render({"global": {"hubs": "a"}}, name="mast")


def test_several_mistakes_are_told_at_once() -> None:
    both = merged(set_values("global.hubs", "a"), set_values("pilot.autoscaleMin", 0))
    with pytest.raises(helm_python.HelmValuesError) as caught:
        chart().validate_schema(both)
    assert "hubs" in str(caught.value)
    assert "autoscaleMin" in str(caught.value)


def test_profiles_have_values_only() -> None:
    for path in (CHART / "profiles").iterdir():
        chart().validate_schema(yaml.safe_load(path.read_text()))


def test_values_are_used() -> None:
    """Nothing is promised that no template reads; maps of values may be passed on whole."""
    templates = "".join(each["data"] for each in chart().templates)
    passed_on = {"cni", "enabled", "datadog"}
    for each in FOUND:
        *_, name = each.path
        whole = each.path[0] == "global" or name in passed_on
        assert not each.leaf or whole or name in templates, each.name


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("a: null", "tells no type", id="null"),
        pytest.param("# @ nothing\na: 1", "no definition 'nothing'", id="definition"),
        pytest.param("- a", "want a map", id="list"),
    ],
)
def test_values_without_a_type_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        schema(values(text))


def test_schemas_of_defaults() -> None:
    made: Object = schema(values("# All.\na:\n  # One.\n  b: 1\n  c: true\n  d: 0.5\n  e: x\n"))
    part = made["properties"]["a"]
    assert part["description"] == "All."
    assert part["additionalProperties"] is False
    assert part["properties"]["b"] == {"description": "One.", "type": "integer", "minimum": 0}
    assert [part["properties"][name]["type"] for name in "cde"] == ["boolean", "number", "string"]
