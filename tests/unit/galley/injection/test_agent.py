"""The agent understands what injection tells it: its own parsers read flags, variables, rules."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from mast.agent.capture_command import capture_of, parse
from mast.agent.commands import COMMANDS
from mast.agent.config import Config, Flags
from mast.agent.core import paths, probers, scrape
from mast.agent.core.cni.pods import arguments, reason_to_skip
from mast.agent.core.proxy_config import merged
from mast.galley.core.injection import values
from mast.galley.core.injection.metrics import MESH_PORTS
from mast.galley.core.injection.pod import injected
from mast.galley.core.injection.proxy import AGENT
from mast.galley.core.injection.settings import settings
from tests.support.pods import Object, container, environment, pod, pods

GOLDEN = Path("tests/golden/galley/injection")
INJECTED = [
    pytest.param(found, id=f"{path.name.removesuffix('.injected.yaml')}-{index}")
    for path in sorted(GOLDEN.glob("*.injected.yaml"))
    for index, found in enumerate(pods(path.read_text()))
]
BY_PLUGIN = [
    each for each in INJECTED if "istio-validation" in yaml.safe_dump(each.values[0]["spec"])
]
FILLED_IN = {
    "POD_NAME": "web-1",
    "POD_NAMESPACE": "shop",
    "INSTANCE_IP": "10.0.0.5",
    "SERVICE_ACCOUNT": "web",
    "ISTIO_CPU_LIMIT": "2",
}


def named(pod: Object, name: str) -> Object | None:
    spec = pod["spec"]
    every = [*spec.get("initContainers", ()), *spec["containers"]]
    return next((each for each in every if each["name"] == name), None)


@pytest.mark.parametrize("pod", INJECTED)
def test_the_proxy_starts_with_it(pod: Object) -> None:
    found = named(pod, "istio-proxy")
    if found is None:
        return  # grpc-simple has none
    command, *arguments = found["args"]
    assert command == "proxy"
    flags = Flags.parse(arguments)
    assert flags.domain == "$(POD_NAMESPACE).svc.cluster.local"
    env = {**environment(found), **FILLED_IN}
    config = Config.parse(env)
    assert config.ca_address
    proxy_config = merged({"PROXY_CONFIG": json.loads(env["PROXY_CONFIG"])})
    assert proxy_config.discovery_address.startswith("istiod")
    assert set(probers.probers(config.app_probers)) == set(_asked(pod))
    scrape.targets(config.prometheus_annotations)


def _asked(pod: Object) -> set[str]:
    """The agent's paths that the kubelet is told."""
    text = yaml.safe_dump({key: pod["spec"].get(key) for key in ("initContainers", "containers")})
    words = text.split()
    return {word for word in words if word.startswith(("/app-health/", "/app-lifecycle/"))}


@pytest.mark.parametrize("pod", INJECTED)
def test_capture_is_programmed_by_it(pod: Object) -> None:
    found = named(pod, "istio-init") or named(pod, "istio-validation")
    if found is None:
        return
    command, *arguments = found["args"]
    assert command in COMMANDS
    flags = parse(arguments, environment(found))
    capture = capture_of(flags, "")
    proxy = container(pod)
    mode = environment(proxy)["ISTIO_META_INTERCEPTION_MODE"]
    assert capture.mode == mode
    assert {"15090", "15021"} < set(capture.excluded_inbound_ports)
    assert flags["run_validation"] is flags["skip_rule_apply"] is (found["name"] != "istio-init")
    context = proxy["securityContext"]
    assert str(context["runAsUser"]) in capture.uids or str(context["runAsGroup"]) in capture.gids


@pytest.mark.parametrize("pod", BY_PLUGIN)
def test_the_plugin_programs_what_is_validated(pod: Object) -> None:
    """With CNI there is no init container: the plugin reads annotations of the same settings."""
    assert reason_to_skip(pod, ()) == ""
    wanted, found = (
        capture_of(parse(words, environment(container(pod, "istio-validation"))), "")
        for words in (container(pod, "istio-validation")["args"][1:], arguments(pod))
    )
    own = ("excluded_inbound_ports", "excluded_outbound_ports", "uids", "gids")
    for name in own:
        assert set(getattr(wanted, name)) <= {*getattr(found, name), "1337"}
    assert replace(found, **{name: getattr(wanted, name) for name in own}) == wanted


@pytest.mark.parametrize("pod", INJECTED)
def test_hooks_are_commands_of_the_agent(pod: Object) -> None:
    hooks = (named(pod, "istio-proxy") or {}).get("lifecycle", {})
    for hook in hooks.values():
        program, command, *_ = hook["exec"]["command"]
        assert program == "sleep" or (program == AGENT and command in COMMANDS)


def test_files_are_where_the_agent_looks() -> None:
    proxy = container(injected(pod(), settings(), namespace="shop"))
    assert proxy["workingDir"] == "/"
    mounted = [each["mountPath"] for each in proxy["volumeMounts"]]
    for path in (
        paths.TOKEN,
        paths.ROOT_CERTIFICATE,
        paths.CERTIFICATE_REVOCATIONS,
        paths.WORKLOAD_CREDENTIALS,
        paths.WORKLOAD_SOCKETS,
        paths.FILES_SOCKET,
        paths.XDS_SOCKET,
        paths.BOOTSTRAP,
        paths.MODULES,
        paths.POD_LABELS,
        paths.POD_ANNOTATIONS,
    ):
        absolute = path.removeprefix(".")
        assert any(absolute == each or absolute.startswith(f"{each}/") for each in mounted), path


def test_the_release_is_the_agents() -> None:
    assert version("mast-agent") == values.TAG


def test_ports_that_are_not_scraped_are_the_agents() -> None:
    assert MESH_PORTS == scrape.MESH_PORTS


@pytest.mark.parametrize(
    ("probe", "original"),
    [
        pytest.param(
            {"httpGet": {"path": "/a", "port": "web", "scheme": "HTTPS"}},
            probers.HttpProbe(port=8443, path="/a", https=True),
            id="https-by-the-name-of-its-port",
        ),
        pytest.param(
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "Host", "value": "x"}]}},
            probers.HttpProbe(port=80, path="/", headers=(("Host", "x"),)),
            id="headers",
        ),
        pytest.param({"tcpSocket": {"port": "web"}}, probers.TcpProbe(port=8443), id="tcp"),
        pytest.param(
            {"grpc": {"port": 90, "service": "s"}},
            probers.GrpcProbe(port=90, service="s"),
            id="grpc",
        ),
    ],
)
def test_a_probe_of_the_kubelet_is_the_agents(
    probe: dict[str, Any], original: probers.Probe
) -> None:
    given = pod()
    given["spec"]["containers"][0] |= {
        "ports": [{"name": "web", "containerPort": 8443}],
        "readinessProbe": {**probe, "periodSeconds": 7},
    }
    made = injected(given, settings(), namespace="shop")
    kubelet = container(made, "web")["readinessProbe"]
    assert kubelet == {
        "httpGet": {"path": "/app-health/web/readyz", "port": 15020},
        "periodSeconds": 7,
    }
    text = environment(container(made))["ISTIO_KUBE_APP_PROBERS"]
    assert probers.probers(text) == {"/app-health/web/readyz": original}
