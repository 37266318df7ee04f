"""Annotations of pods: a bad value is named, with what is allowed, and all of them at once (C3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mast.galley.core.injection.annotations import RULES, checked
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import settings

SIDECAR = "sidecar.istio.io/"
TRAFFIC = "traffic.sidecar.istio.io/"
READINESS = "readiness.status.sidecar.istio.io/"


@pytest.mark.parametrize(
    ("name", "good", "bad", "allowed"),
    [
        (f"{SIDECAR}rewriteAppHTTPProbers", "false", "no", "true, false"),
        (f"{SIDECAR}capNetBindService", "True", "2", "true, false"),
        (f"{SIDECAR}nativeSidecar", "t", "", "true, false"),
        (f"{SIDECAR}statsCompression", "false", "gzip", "true, false"),
        (f"{SIDECAR}proxyImage", "example.com/agent:2", "a b", "an image"),
        (f"{SIDECAR}proxyImageType", "debug", "a/b", "debug"),
        (f"{SIDECAR}proxyCPU", "0.5", "much", "100m"),
        (f"{SIDECAR}proxyCPULimit", "2", "-1", "100m"),
        (f"{SIDECAR}proxyMemory", "1Gi", "1 Gi", "128Mi"),
        (f"{SIDECAR}proxyMemoryLimit", "1e9", "Gi", "128Mi"),
        (f"{SIDECAR}interceptionMode", "TPROXY", "tproxy", "REDIRECT, TPROXY, NONE"),
        (f"{SIDECAR}bootstrapOverride", "own-map", "Own Map", "ConfigMap"),
        (f"{SIDECAR}logLevel", "warning,http:debug", "loud", "trace"),
        (f"{SIDECAR}componentLogLevel", "http:debug", "debug", "component:level"),
        (f"{SIDECAR}agentLogLevel", "default:info,xds:debug", ":info", "level or component:level"),
        (f"{SIDECAR}userVolume", '[{"name":"a","emptyDir":{}}]', "[1]", "a list of objects"),
        (f"{SIDECAR}userVolume", '{"a":{"emptyDir":{}}}', "{", "no JSON"),
        (f"{SIDECAR}userVolumeMount", '{"a":{"mountPath":"/a"}}', '{"a":{}}', "lacks a mountPath"),
        (f"{SIDECAR}statsFlushInterval", "10s", "10", "no duration"),
        (f"{SIDECAR}statsFlushInterval", "1ms", "5m", "less than 5m"),
        (f"{SIDECAR}statsEvictionInterval", "1m30s", "0s", "more than 0"),
        (f"{SIDECAR}statsEvictionInterval", "5s", "7s", "multiples of 5s"),
        (f"{SIDECAR}statsHistogramBuckets", '{"istio":[1,5.5]}', '{"istio":["1"]}', "numbers"),
        (f"{SIDECAR}discoveryAddress", "pilot.example.com:15012", "pilot", "HOST:PORT"),
        (f"{SIDECAR}status", '{"containers":["a"],"volumes":null}', "[]", "injector"),
        (f"{SIDECAR}status", "{}", '{"containers":[1]}', "injector"),
        (f"{TRAFFIC}includeOutboundIPRanges", "*", "10.0.0.0/33", "CIDRs"),
        (f"{TRAFFIC}excludeOutboundIPRanges", "10.0.0.0/8, fd00::/8", "any", "CIDRs"),
        (f"{TRAFFIC}includeInboundPorts", "*", "80,http", "*, or ports"),
        (f"{TRAFFIC}excludeInboundPorts", "22, 23", "0", "1 to 65535"),
        (f"{TRAFFIC}includeOutboundPorts", "443", "*", "1 to 65535"),
        (f"{TRAFFIC}excludeOutboundPorts", "", "65536", "1 to 65535"),
        (f"{TRAFFIC}excludeInterfaces", "eth1,net0", "-j ACCEPT", "interfaces"),
        (f"{TRAFFIC}kubevirtInterfaces", "net1", "a/b", "interfaces"),
        ("istio.io/reroute-virtual-interfaces", "net1", "$(x)", "interfaces"),
        ("status.sidecar.istio.io/port", "0", "70000", "0 for none"),
        (f"{READINESS}initialDelaySeconds", "5", "-5", "from 0"),
        (f"{READINESS}periodSeconds", "5", "5s", "from 0"),
        (f"{READINESS}failureThreshold", "5", "1e3", "from 0"),
        (f"{READINESS}applicationPorts", "80,81", "web", "ports"),
        ("prometheus.istio.io/merge-metrics", "false", "never", "true, false"),
        ("proxy.istio.io/config", "concurrency: 2", "concurency: 2", "did you mean 'concurrency'"),
        ("proxy.istio.io/config", '{"drainDuration":"5s"}', "drainDuration: 5", "drainDuration"),
        ("proxy.istio.io/config", "", "a: b: c", "not YAML"),
        ("proxy.istio.io/overrides", '{"containers":[{"name":"a"}]}', "[]", "injector"),
        ("inject.istio.io/templates", "sidecar,grpc-agent", "sidecars", "grpc-agent, grpc-simple"),
    ],
)  # fmt: skip
def test_values(name: str, good: str, bad: str, allowed: str) -> None:
    assert checked({name: good}, settings()).given == {name: good}
    with pytest.raises(InjectionRefused) as refused:
        checked({name: bad}, settings())
    (problem,) = refused.value.problems
    assert name in problem
    assert allowed in problem


def test_all_problems_at_once() -> None:
    given = {f"{SIDECAR}proxyCPU": "much", f"{SIDECAR}logLevel": "loud", "inject": 1}
    with pytest.raises(InjectionRefused) as refused:
        checked(given, settings())
    assert len(refused.value.problems) == 3
    assert "much" in str(refused.value)
    assert "loud" in str(refused.value)


@pytest.mark.parametrize("levels", [200, 900, 100_000])
@pytest.mark.parametrize(
    "name",
    [
        f"{SIDECAR}userVolume",
        f"{SIDECAR}statsHistogramBuckets",
        f"{SIDECAR}status",
        "proxy.istio.io/overrides",
        "proxy.istio.io/config",
    ],
)
def test_depth_is_bounded(name: str, levels: int) -> None:
    with pytest.raises(InjectionRefused, match=f"annotation {name}: .*nested deeper than 64"):
        checked({name: "[" * levels + "]" * levels}, settings())


def test_annotations_of_others_are_not_judged() -> None:
    given = {"example.com/own": "anything", f"{SIDECAR}own": "too"}
    assert checked(given, settings()).given == given


def test_every_annotation_is_documented() -> None:
    text = Path("docs/injection.md").read_text()
    assert [name for name in RULES if f"`{name}`" not in text] == []
