"""What the chart tells the mesh: settings, Mixer's rules, injection, webhooks, gateways."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from mast.galley.core.injection.pod import injected
from mast.galley.core.injection.settings import Settings, settings
from mast.galley.core.injection.site import PROXY
from mast.galley.core.injection.trees import parsed
from mast.galley.core.injection.webhooks import webhooks
from mast.galley.core.injection.workload import Workload
from mast.galley.core.judge import Judgement, judge
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.problem import Severity
from tests.support.chart import (
    NAMESPACE,
    PROFILES,
    Object,
    containers,
    merged,
    named,
    profile,
    rendered,
    set_values,
)
from tests.unit.chart.test_renders import COMBINATIONS

VALUES = [pytest.param(profile(name), id=name) for name in PROFILES if name != "remote"] + [
    pytest.param(COMBINATIONS[name], id=name)
    for name in ("1.4-names", "current-names", "networks", "no-lookups", "by-default", "extra")
]


def judged(found: list[Object]) -> Judgement:
    """What Galley makes of everything that is configuration."""
    wanted = [
        each
        for each in found
        if ".istio.io/" in each["apiVersion"] or each["metadata"]["name"] == "istio"
    ]
    text = yaml.dump_all(wanted, Dumper=yaml.CSafeDumper)
    return judge(read_text(text, "chart", Defaults(NAMESPACE)))


def mesh_of(found: list[Object]) -> Object:
    text: Object = yaml.safe_load(named(found, "ConfigMap/istio")["data"]["mesh"])
    return text


def injection(found: list[Object], name: str = "istio-sidecar-injector") -> Settings:
    """As Galley reads the mounted files."""
    data = named(found, f"ConfigMap/{name}")["data"]
    read: list[Any] = [parsed(data[key]) for key in ("values", "config")]
    return settings(mesh_of(found), *read)


@pytest.mark.parametrize("values", VALUES)
def test_galley_takes_it(values: Object) -> None:
    found = judged(rendered(values))
    assert [each for each in found.problems if each.severity is Severity.ERROR] == []
    kinds = {str(each.kind).rpartition("/")[2] for each in found.objects}
    assert {"MeshConfig", "MeshNetworks"} <= kinds


def test_settings_of_the_mesh() -> None:
    mesh = mesh_of(rendered())
    assert mesh["mixerCheckServer"] == "istio-policy.istio-system.svc.cluster.local:15004"
    assert mesh["mixerReportServer"] == "istio-telemetry.istio-system.svc.cluster.local:15004"
    assert mesh["defaultConfig"]["discoveryAddress"] == "istiod.istio-system.svc:15012"
    assert mesh["defaultConfig"]["tracing"] == {"sampling": 1}
    assert (mesh["disablePolicyChecks"], mesh["enableAutoMtls"]) == (True, True)
    assert mesh["ingressService"] == "istio-ingressgateway"


@pytest.mark.parametrize(
    ("values", "field", "value"),
    [
        pytest.param(profile("minimal"), "mixerCheckServer", None, id="no-mixer"),
        pytest.param({"traceSampling": 50}, "defaultConfig.tracing.sampling", 50, id="current"),
        pytest.param(COMBINATIONS["1.4-names"], "enableAutoMtls", False, id="1.4"),
        pytest.param(
            COMBINATIONS["1.4-names"], "defaultConfig.tracing.zipkin.address", "zipkin:9411",
            id="zipkin",
        ),
        pytest.param(COMBINATIONS["1.4-names"], "disablePolicyChecks", False, id="checks"),
        pytest.param(
            {"meshConfig": {"defaultConfig": {"concurrency": 7}}}, "defaultConfig.concurrency", 7,
            id="own",
        ),
        pytest.param(
            {"meshConfig": {"defaultConfig": {"concurrency": 7}}}, "defaultConfig.discoveryAddress",
            "istiod.istio-system.svc:15012", id="own-beside-ours",
        ),
    ],
)  # fmt: skip
def test_values_become_settings(values: Object, field: str, value: object) -> None:
    found: Any = mesh_of(rendered(values))
    for part in field.split("."):
        found = found.get(part)
    assert found == value


def test_mutual_tls_of_1_4_is_a_policy() -> None:
    policy = named(rendered(COMBINATIONS["1.4-names"]), "PeerAuthentication/default")
    assert policy["spec"] == {"mtls": {"mode": "STRICT"}}
    assert "PeerAuthentication" not in {each["kind"] for each in rendered()}


@pytest.mark.parametrize(
    ("values", "there", "gone"),
    [
        pytest.param({}, ["handler/prometheus", "handler/kubernetesenv"], ["handler/stdio"],
                     id="default"),
        pytest.param(COMBINATIONS["1.4-names"], ["handler/stdio", "rule/kubeattrgenrulerule"],
                     ["handler/prometheus", "rule/promhttp", "instance/requestcount"], id="stdio"),
        pytest.param(COMBINATIONS["no-lookups"], ["rule/promhttp"],
                     ["handler/kubernetesenv", "instance/attributes"], id="no-lookups"),
        pytest.param(profile("minimal"), [], ["attributemanifest/istioproxy"], id="minimal"),
    ],
)  # fmt: skip
def test_adapters_of_mixer(values: Object, there: list[str], gone: list[str]) -> None:
    names = {f"{each['kind']}/{each['metadata']['name']}" for each in rendered(values)}
    assert set(there) <= names
    assert not set(gone) & names


def test_series_live_as_long_as_values_say() -> None:
    values = set_values("mixer.adapters.prometheus.metricsExpiryDuration", "5m")
    handler = named(rendered(values), "handler/prometheus")
    policy = handler["spec"]["params"]["metricsExpirationPolicy"]
    assert policy == {"metricsExpiryDuration": "5m"}


@pytest.mark.parametrize("values", VALUES)
def test_injection_goes_by_the_values(values: Object) -> None:
    found = injection(rendered(values))
    assert found.values.istio_namespace == NAMESPACE
    assert found.values.tag == "0.1.0"
    assert found.ca == "istio-citadel.istio-system.svc:8060"


def test_values_reach_injection() -> None:
    values = {
        "global": {
            "tag": 1.2,
            "proxy": {"image": "proxyv2", "resources": {"limits": {"cpu": 1}}},
            "imagePullSecrets": ["pull"],
        },
        "pilot": {"cni": {"enabled": True}},
        "env": {"ENABLE_NATIVE_SIDECARS": True},
        "revision": "canary",
        "sidecarInjectorWebhook": {
            "templates": {"more": {"spec": {"hostname": "a"}}},
            "defaultTemplates": ["sidecar", "more"],
            "injectedAnnotations": {"a": "b"},
        },
    }
    found = rendered(values)
    data = named(found, "ConfigMap/istio-sidecar-injector-canary")["data"]
    read = settings({}, parsed(data["values"]), parsed(data["config"]))
    assert (read.values.tag, read.values.image, read.values.cni) == ("1.2", "proxyv2", True)
    assert read.values.resources["limits"] == {"cpu": 1, "memory": "1024Mi"}
    assert (read.values.native, read.values.pull_secrets) == ("true", ("pull",))
    assert read.control_plane == "istiod-canary.istio-system.svc:15012"
    assert read.default_templates == ("sidecar", "more")
    assert read.annotations == {"a": "b"}


@pytest.mark.parametrize("path", ["cni.enabled", "istio_cni.enabled", "pilot.cni.enabled"])
def test_injection_knows_of_the_plugin(path: str) -> None:
    assert injection(rendered(set_values(path, True))).values.cni
    assert not injection(rendered()).values.cni


@pytest.mark.parametrize(
    ("values", "name", "revision", "by_default"),
    [
        pytest.param({}, "istio-sidecar-injector", "default", False, id="default"),
        pytest.param(
            COMBINATIONS["by-default"], "istio-sidecar-injector", "default", True, id="by-default"
        ),
        pytest.param(
            COMBINATIONS["revision"], "istio-sidecar-injector-canary", "canary", False,
            id="revision",
        ),
        pytest.param(
            COMBINATIONS["revision"], "istio-revision-tag-prod", "prod", False, id="tag"
        ),
        pytest.param(
            profile("remote"), "istio-sidecar-injector", "default", False, id="remote"
        ),
    ],
)  # fmt: skip
def test_injecting_webhooks(values: Object, name: str, revision: str, by_default: bool) -> None:
    """Those of C1, by the same table as Galley's."""
    made = named(rendered(values), f"MutatingWebhookConfiguration/{name}")
    told = [
        (each["name"], each["namespaceSelector"], each["objectSelector"])
        for each in made["webhooks"]
    ]

    def sorted_(selector: Any) -> Any:
        expressions = [dict(each) for each in selector["matchExpressions"]]
        return {"matchExpressions": sorted(expressions, key=lambda each: str(each["key"]))}

    wanted = webhooks(revision, by_default=by_default)
    assert [(n, sorted_(a), sorted_(b)) for n, a, b in told] == [
        (each.name, sorted_(each.namespaces), sorted_(each.pods)) for each in wanted
    ]
    assert {each["failurePolicy"] for each in made["webhooks"]} == {"Fail"}


def test_validating_webhooks_begin_open() -> None:
    found = [each for each in rendered() if each["kind"] == "ValidatingWebhookConfiguration"]
    assert [each["metadata"]["name"] for each in found] == [
        "istio-validator-istio-system", "istiod-default-validator"
    ]  # fmt: skip
    for each in found:
        assert each["metadata"]["labels"]["istio.io/rev"] == "default"
        (webhook,) = each["webhooks"]
        assert webhook["failurePolicy"] == "Ignore"
        assert webhook["clientConfig"]["service"]["name"] == "istio-galley"
    canary = rendered(COMBINATIONS["revision"])
    (only,) = [each for each in canary if each["kind"] == "ValidatingWebhookConfiguration"]
    assert only["metadata"]["name"] == "istio-validator-canary-istio-system"
    expressions = only["webhooks"][0]["objectSelector"]["matchExpressions"]
    assert expressions == [{"key": "istio.io/rev", "operator": "In", "values": ["canary"]}]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="default"),
        pytest.param(COMBINATIONS["networks"], id="networks"),
        pytest.param(COMBINATIONS["extra"], id="logs"),
        pytest.param(set_values("global.variant", "debug"), id="variant"),
    ],
)
def test_a_gateway_is_what_injection_would_make_of_it(values: Object) -> None:
    """Template `gateway`: the chart's gateways need no webhook to be there, and do the same."""
    found = rendered(values)
    pod = named(found, "Deployment/istio-ingressgateway")["spec"]["template"]
    (ours,) = containers(pod)
    wanted = injected(
        {
            "metadata": {
                "labels": {"app": "istio-ingressgateway"},
                "annotations": {"inject.istio.io/templates": "gateway"},
                "name": "istio-ingressgateway-x",
                "namespace": NAMESPACE,
            },
            "spec": {"containers": [{"name": PROXY, "image": "auto"}]},
        },
        injection(found),
        namespace=NAMESPACE,
        of=Workload(
            namespace=NAMESPACE,
            name="istio-ingressgateway",
            kind="Deployment",
            api_version="apps/v1",
        ),
    )
    (theirs,) = containers(wanted)
    assert ours["image"] == theirs["image"]
    assert ours["args"] == theirs["args"]
    assert variables(ours) == variables(theirs)
    assert pod["spec"]["volumes"] == sorted_by(wanted["spec"]["volumes"], pod["spec"]["volumes"])
    assert {e["name"]: e["mountPath"] for e in ours["volumeMounts"]} == {
        e["name"]: e["mountPath"] for e in theirs["volumeMounts"]
    }
    for part in ("startupProbe", "readinessProbe", "resources"):
        assert ours[part] == theirs[part], part
    assert pod["spec"]["securityContext"]["sysctls"] == wanted["spec"]["securityContext"]["sysctls"]
    labels = wanted["metadata"]["labels"]
    assert labels.items() <= pod["metadata"]["labels"].items() | {
        ("istio.io/rev", labels.get("istio.io/rev"))
    }


def variables(container: Object) -> dict[str, Any]:
    found = {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
    found["PROXY_CONFIG"] = json.loads(found["PROXY_CONFIG"])
    return found


def sorted_by(found: list[Object], order: list[Object]) -> list[Object]:
    by_name = {each["name"]: each for each in found}
    return [by_name[each["name"]] for each in order]


def test_a_gateway_between_networks() -> None:
    found = rendered(merged({}, COMBINATIONS["gateways"]))
    service = named(found, "Service/istio-egressgateway")
    assert service["metadata"]["labels"]["topology.istio.io/network"] == "n1"
    assert 15443 in {port["port"] for port in service["spec"]["ports"]}
    (container,) = containers(named(found, "Deployment/istio-egressgateway")["spec"]["template"])
    told = variables(container)
    assert (told["ISTIO_META_NETWORK"], told["ISTIO_META_REQUESTED_NETWORK_VIEW"]) == ("n1", "n1")
    assert (told["A"], told["B"]) == ("1", "true")


@pytest.mark.parametrize(
    ("address", "service"),
    [
        pytest.param("east.example.com", {"type": "ExternalName"}, id="name"),
        pytest.param("192.0.2.1", {"clusterIP": "None"}, id="address"),
    ],
)
def test_a_remote_cluster_finds_the_control_plane(address: str, service: Object) -> None:
    found = rendered(merged(profile("remote"), set_values("global.remotePilotAddress", address)))
    for name in ("istiod", "istio-citadel", "istio-galley", "istio-policy", "istio-telemetry"):
        made = named(found, f"Service/{name}")
        assert service.items() <= made["spec"].items()
    slices = [each["endpoints"] for each in found if each["kind"] == "EndpointSlice"]
    assert len(slices) == (5 if address == "192.0.2.1" else 0)
