"""What the chart runs: rights, limits, probes, addresses; and that its parts fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from mast.common.process.settings import duration
from tests.support.chart import (
    PROFILES,
    Object,
    containers,
    merged,
    name_of,
    named,
    pods,
    profile,
    rendered,
    set_values,
)
from tests.support.pods import not_restricted
from tests.unit.chart.test_renders import COMBINATIONS

CASES = [pytest.param(profile(name), id=name) for name in PROFILES] + [
    pytest.param(merged(profile("default"), COMBINATIONS[name]), id=name)
    for name in ("revision", "plaintext", "gateways", "single-etcd", "1.4-names", "cni")
]
LONG_RUNNING = ("Deployment", "StatefulSet", "DaemonSet")
# Works on the node; what it may is compared below.
ON_NODES = "DaemonSet/istio-cni-node"
# Made by mastctl, Galley or the operator, not by Helm.
MADE_ELSEWHERE = re.compile(
    r"Secret/(mast-(ca-key|secrets-key|etcd-\w+)|cacerts|certs)|ConfigMap/istio-ca-(root-cert|crl)"
)
# Who speaks to the API server.
KNOWN_TO_KUBERNETES = {"istio-citadel-service-account", "istio-galley-service-account",
                       "istio-cni", "mast-bootstrap"}  # fmt: skip

every_case = pytest.mark.parametrize("values", CASES)


def addressed(found: list[Object]) -> Iterator[tuple[str, Object, list[str]]]:
    """Services and network policies with the pods that they select."""
    templates = list(pods(found))
    for each in found:
        if each["kind"] not in {"Service", "NetworkPolicy", "PodDisruptionBudget"}:
            continue
        spec = each["spec"]
        wanted = spec.get("podSelector") or spec.get("selector") or {}
        wanted = wanted.get("matchLabels", wanted)
        if wanted:
            chosen = [
                name
                for name, pod in templates
                if wanted.items() <= pod["metadata"]["labels"].items()
            ]
            yield name_of(each), each, chosen


@every_case
def test_pods_are_restricted(values: Object) -> None:
    """As PodSecurity's level `restricted` wants it, and with root directories that stay."""
    for name, pod in pods(rendered(values)):
        if name != ON_NODES:
            assert not_restricted(pod) == [], name
        for each in containers(pod):
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert "exec" not in (each.get("livenessProbe") or {})


def test_the_plugin_has_rights_on_nodes_and_no_more() -> None:
    found = rendered(COMBINATIONS["cni"])
    pod = named(found, ON_NODES)["spec"]["template"]
    (container,) = containers(pod)
    context = container["securityContext"]
    assert (context["privileged"], context["allowPrivilegeEscalation"]) == (False, False)
    assert context["capabilities"] == {
        "drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN"]
    }  # fmt: skip
    paths = {each["hostPath"]["path"] for each in pod["spec"]["volumes"] if "hostPath" in each}
    assert paths == {"/opt/cni/bin", "/etc/cni/net.d", "/var/run/mast-cni", "/var/run/netns"}
    (quiet,) = [
        each["spec"]["template"]["spec"]["hostPID"]
        for each in rendered(COMBINATIONS["cni-without-repair"])
        if each["kind"] == "DaemonSet"
    ]
    assert quiet is False


@every_case
def test_containers_have_limits_and_images_that_stay(values: Object) -> None:
    for name, pod in pods(rendered(values)):
        for each in containers(pod):
            where = f"{name}: {each['name']}"
            for kind in ("requests", "limits"):
                assert set(each["resources"][kind]) >= {"cpu", "memory"}, where
            image, _, tag = each["image"].rpartition(":")
            assert image, where
            assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), where


@every_case
def test_what_runs_for_long_has_probes(values: Object) -> None:
    found = rendered(values)
    for name, pod in pods(found):
        for each in containers(pod):
            if name.startswith(LONG_RUNNING):
                assert {"readinessProbe", "startupProbe"} <= each.keys(), name
                assert "livenessProbe" in each or each["name"] == "istio-proxy", name
            else:
                assert pod["spec"]["restartPolicy"] in {"Never", "OnFailure"}, name


@every_case
def test_replicas(values: Object) -> None:
    """One autoscaler or a number; no disruption budget where there is one replica (G16)."""
    found = rendered(values)
    scaled = {each["metadata"]["name"]: each["spec"] for each in found
              if each["kind"] == "HorizontalPodAutoscaler"}  # fmt: skip
    guarded = {each["metadata"]["name"] for each in found if each["kind"] == "PodDisruptionBudget"}
    for each in found:
        if each["kind"] not in {"Deployment", "StatefulSet"}:
            continue
        name, spec = each["metadata"]["name"], each["spec"]
        assert (name in scaled) != ("replicas" in spec)
        least = scaled[name]["minReplicas"] if name in scaled else spec["replicas"]
        assert (name in guarded) == (least > 1), name
        keys = {c["topologyKey"] for c in spec["template"]["spec"]["topologySpreadConstraints"]}
        assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


@every_case
def test_rolling_updates_take_nobody_away(values: Object) -> None:
    """Nobody is asked to end before another one is ready, or killed before it has ended."""
    updated = [each for each in rendered(values) if each["kind"] == "Deployment"]
    for each in updated:
        name, spec = name_of(each), each["spec"]
        update = spec["strategy"]["rollingUpdate"]
        assert (update["maxSurge"], update["maxUnavailable"]) == ("25%", 0), name
        pod = spec["template"]["spec"]
        flags = [flag for container in containers(spec["template"]) for flag in container["args"]]
        if "--drain" not in "".join(flags):
            continue  # a gateway, whose agent drains by itself
        needed = sum(map(duration, ends(flags)), timedelta())
        assert len(list(ends(flags))) == 2, name
        assert pod["terminationGracePeriodSeconds"] == needed.total_seconds() + 10, name
        assert spec["minReadySeconds"] > 0, name


def test_the_time_to_end_is_a_value() -> None:
    values = {"global": {"shutdownDelaySeconds": 30}, "pilot": {"drainSeconds": 120}}
    found = named(rendered(merged(profile("default"), values)), "Deployment/istio-pilot")
    pod = found["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 160
    assert {"--shutdown-delay=30s", "--drain=120s"} <= {*pod["containers"][0]["args"]}


def ends(flags: list[str]) -> Iterator[str]:
    """The durations of what is done before the end."""
    for flag in flags:
        name, _, value = flag.partition("=")
        if name in {"--shutdown-delay", "--drain"}:
            yield value


@every_case
def test_everything_that_is_named_is_there(values: Object) -> None:
    found = rendered(values)
    names = {name_of(each) for each in found}
    for name, pod in pods(found):
        spec = pod["spec"]
        account = spec.get("serviceAccountName", "")
        assert f"ServiceAccount/{account}" in names or values.get("revision") or not account
        assert spec["automountServiceAccountToken"] is (account in KNOWN_TO_KUBERNETES), name
        volumes = {each["name"]: each for each in spec.get("volumes", ())}
        claims = {each["metadata"]["name"] for each in named(found, name)["spec"].get(
            "volumeClaimTemplates", ())} if name.startswith("StatefulSet") else set()  # fmt: skip
        mounted = {each["name"] for one in containers(pod) for each in one.get("volumeMounts", ())}
        assert mounted == volumes.keys() | claims, name
        for source in references(volumes.values()):
            assert source in names or MADE_ELSEWHERE.fullmatch(source), f"{name}: {source}"


def references(volumes: Any) -> Iterator[str]:
    for each in volumes:
        if "secret" in each:
            yield f"Secret/{each['secret']['secretName']}"
        if "configMap" in each:
            yield f"ConfigMap/{each['configMap']['name']}"
        if "persistentVolumeClaim" in each:
            yield f"PersistentVolumeClaim/{each['persistentVolumeClaim']['claimName']}"


@every_case
def test_services_and_policies_fit_the_pods(values: Object) -> None:
    found = rendered(values)
    templates = dict(pods(found))
    for name, each, chosen in addressed(found):
        assert len(chosen) == 1, name
        ports = {
            key: port["containerPort"]
            for one in containers(templates[chosen[0]])
            for port in one.get("ports", ())
            for key in (port["name"], port["containerPort"])
        }
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports.keys(), name
        if each["kind"] == "NetworkPolicy":
            open_ = {port["port"] for way in each["spec"]["ingress"] for port in way["ports"]}
            local = {9091, 15010} if not plaintext(values) else set()
            assert open_ == set(ports.values()) - local, name


def plaintext(values: Object) -> bool:
    return not values.get("global", {}).get("controlPlaneSecurityEnabled", True)


def test_addresses_of_istio_resolve() -> None:
    """E2's ports, by the names of 1.4 and of today."""
    found = rendered(set_values("global.controlPlaneSecurityEnabled", False))
    ports = {
        each["metadata"]["name"]: {port["port"] for port in each["spec"]["ports"]}
        for each in found
        if each["kind"] == "Service"
    }
    assert ports["istiod"] == ports["istio-pilot"] == {15010, 15011, 15012, 8080, 15014}
    assert ports["istio-policy"] == {9091, 15004, 15014}
    assert ports["istio-telemetry"] == {9091, 15004, 15014, 42422}
    assert ports["istio-citadel"] == {8060, 15014}
    assert ports["istio-galley"] == {443, 9901, 15014}
    assert ports["istio-ingressgateway"] == {15021, 80, 443}
    assert ports["mast-etcd"] == {2379, 2380, 2381}


def test_only_services_and_jobs_reach_etcd() -> None:
    policy = named(rendered(), "NetworkPolicy/mast-etcd")
    (client, peer, _) = policy["spec"]["ingress"]
    (selected,) = client["from"]
    (expression,) = selected["podSelector"]["matchExpressions"]
    assert expression["values"] == [
        "bootstrap", "citadel", "etcd-snapshots", "galley", "pilot", "policy", "telemetry"
    ]  # fmt: skip
    users = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for _, pod in pods(rendered())
        if any("mast-etcd-" in each for each in references(pod["spec"].get("volumes", ())))
    }
    assert users - {"etcd"} == set(expression["values"]) - {"bootstrap"}
    assert peer["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "etcd"}}}]


def test_a_job_is_another_when_it_runs_something_else() -> None:
    """Jobs cannot be changed; what stays the same is not run again."""
    names = {
        values: next(each["metadata"]["name"] for each in rendered(given) if each["kind"] == "Job")
        for values, given in {
            "default": {},
            "other-limits": set_values("pilot.resources.limits.cpu", 3),
            "other-image": set_values("global.tag", "9.9.9"),
            "other-root": set_values("etcd.root", "/mesh"),
        }.items()
    }
    assert names["default"] == names["other-limits"]
    assert len(set(names.values())) == 3
