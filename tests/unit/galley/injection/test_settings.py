"""Settings: of MeshConfig, Helm's values and the injector's configuration, or all that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from mast.galley.core.injection.pod import injected
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import settings
from mast.galley.core.injection.values import Values
from tests.support.pods import container, pod


def test_defaults() -> None:
    found = settings()
    assert found.values == Values()
    assert found.enabled
    assert found.default_templates == ("sidecar",)
    assert found.revision == "default"


@pytest.mark.parametrize(
    ("helm", "field", "value"),
    [
        ({"global": {"tag": 1.5}}, "tag", "1.5"),
        ({"global": {"imagePullSecrets": ["a", {"name": "b"}]}}, "pull_secrets", ("a", "b")),
        ({"global": {"proxy": {"statusPort": "15030"}}}, "status_port", 15030),
        ({"global": {"proxy": {"includeInboundPorts": 80}}}, "inbound_ports", "80"),
        ({"global": {"proxy": {"privileged": "true"}}}, "privileged", True),
        ({"pilot": {"cni": {"enabled": True}}}, "cni", True),
        ({"istio_cni": {"enabled": True}}, "cni", True),
        ({"pilot": {"env": {"ENABLE_NATIVE_SIDECARS": True}}}, "native", "true"),
        ({"revision": "a", "global": {"revision": "b"}}, "revision", "a"),
        ({"global": None, "gateways": {"x": 1}}, "hub", "docker.io/mast"),
    ],
)
def test_values(helm: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(Values.of(helm), field) == value


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param(
            {"values": {"global": {"proxy": {"statusPort": "http"}}}},
            "value global.proxy.statusPort: 'http' is not a whole number",
            id="number",
        ),
        pytest.param(
            {"values": {"global": {"proxy": {"privileged": "yes"}}}},
            "value global.proxy.privileged: 'yes' is not a boolean; allowed: true, false",
            id="boolean",
        ),
        pytest.param(
            {"values": {"global": {"hub": {}}}}, "value global.hub: '{}' is not text", id="text"
        ),
        pytest.param(
            {"values": {"global": {"proxy": {"resources": []}}}},
            "value global.proxy.resources: '[]' is not an object",
            id="object",
        ),
        pytest.param(
            {"values": {"global": {"imagePullSecrets": "a"}}},
            "value global.imagePullSecrets: 'a' is not a list",
            id="list",
        ),
        pytest.param(
            {"values": {"pilot": {"env": {"ENABLE_NATIVE_SIDECARS": "maybe"}}}},
            "ENABLE_NATIVE_SIDECARS: 'maybe'; allowed: auto, true, false",
            id="native",
        ),
        pytest.param(
            {"injector": {"policy": "on"}}, "policy 'on'; allowed: enabled, disabled", id="policy"
        ),
        pytest.param(
            {"injector": {"defaultTemplates": ["own"]}},
            "template 'own' is not defined; defined: gateway, grpc-agent",
            id="default-template",
        ),
        pytest.param(
            {"injector": {"aliases": {"a": ["sidecar", "b"]}}},
            "template 'b' is not defined",
            id="alias",
        ),
        pytest.param(
            {"injector": {"aliases": {"a": "sidecar"}}},
            "a: want a list of names of templates",
            id="alias-of-text",
        ),
        pytest.param(
            {"injector": {"templates": {"sidecar": {}}}},
            "template 'sidecar': it is built in",
            id="built-in",
        ),
        pytest.param(
            {"injector": {"templates": {"own": "spec: {{ .Spec }}"}}},
            "template 'own': {{ }} is not evaluated",
            id="go-template",
        ),
        pytest.param(
            {"injector": {"templates": {"own": "spec:\n  a: b: c"}}},
            "template 'own': line 2: not YAML",
            id="template-not-yaml",
        ),
        pytest.param(
            {"injector": {"templates": {"own": "a: 1\n---\nb: 1"}}},
            "template 'own': line 3: want one document, not 2",
            id="two-documents",
        ),
        pytest.param(
            {"injector": {"templates": {"own": {"kind": "Pod"}}}},
            "template 'own': want an object with metadata or spec",
            id="template-of-other-parts",
        ),
        pytest.param(
            {"injector": {"templates": ["a"]}}, "templates: want an object", id="templates-list"
        ),
        pytest.param(
            {"injector": {"neverInjectSelector": {"matchLabels": {}}}},
            "neverInjectSelector: want a list of label selectors",
            id="selector",
        ),
        pytest.param(
            {"mesh": {"defaultConfig": {"concurency": 1}}},
            "MeshConfig: defaultConfig.concurency: unknown field",
            id="mesh",
        ),
    ],
)
def test_refusals(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InjectionRefused) as refused:
        settings(**given)
    assert problem in str(refused.value)


def test_all_problems_at_once() -> None:
    with pytest.raises(InjectionRefused) as refused:
        settings({"a": 1}, {"global": {"hub": [], "tag": []}}, {"policy": "x"})
    assert len(refused.value.problems) == 4


def test_the_injectors_configuration_wins_over_values() -> None:
    values = {
        "global": {"proxy": {"autoInject": "disabled"}},
        "sidecarInjectorWebhook": {"injectedAnnotations": {"a": "1"}, "defaultTemplates": ["x"]},
    }
    own = {"policy": "enabled", "templates": {"x": {"metadata": {"labels": {"x": "1"}}}}}
    found = settings(None, values, own)
    assert found.enabled
    made = injected(pod(annotations={"b": "2"}), found, namespace="shop")
    assert made["metadata"]["labels"] == {"x": "1"}
    assert made["metadata"]["annotations"]["a"] == "1"
    assert "istio-proxy" not in str(made["spec"])


def test_security_without_a_profile() -> None:
    values = {"global": {"proxy": {"seccompProfile": {}}}}
    made = injected(pod(), settings(values=values), namespace="shop")
    for name in ("istio-proxy", "istio-init"):
        assert "seccompProfile" not in container(made, name)["securityContext"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"global": {"sts": {"servicePort": 15463}}}, ["--stsPort=15463"]),
        ({"global": {"logAsJson": True}}, ["--log_as_json"]),
        ({"global": {"proxy": {"logLevel": "info"}}}, ["--proxyLogLevel=info"]),
    ],
)
def test_arguments(values: dict[str, Any], words: list[str]) -> None:
    made = injected(pod(), settings(values=values), namespace="shop")
    assert set(words) <= set(container(made)["args"])


def test_other_values_of_the_proxy() -> None:
    hook = {"preStop": {"sleep": {"seconds": 5}}}
    proxy = {
        "enableCoreDump": True,
        "lifecycle": hook,
        "startupProbe": {"enabled": False},
        "readinessInitialDelaySeconds": 3,
        "statusPort": 15030,
    }
    made = container(injected(pod(), settings(values={"global": {"proxy": proxy}}), namespace="s"))
    assert made["lifecycle"] == hook
    assert made["readinessProbe"]["initialDelaySeconds"] == 3
    assert "startupProbe" not in made
    assert made["securityContext"]["readOnlyRootFilesystem"] is False
    assert '"statusPort":15030' in str(made["env"])
