"""What the chart tells programs: their own parsers read every command line and variable."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import typer

from mast.agent.cni_config import CniConfig
from mast.agent.config import Config as AgentConfig
from mast.agent.config import Flags
from mast.citadel.config import Config as CitadelConfig
from mast.cli.etcd_commands import commands
from mast.cli.local import etcd
from mast.common.etcd.roles import ROLES
from mast.common.process.settings import parse
from mast.galley.config import Config as GalleyConfig
from mast.mixer.config import Config as MixerConfig
from mast.pilot.config import Config as PilotConfig
from tests.support.chart import (
    PROFILES,
    Object,
    containers,
    merged,
    name_of,
    pods,
    profile,
    rendered,
)
from tests.support.pods import environment
from tests.unit.chart.test_renders import COMBINATIONS

SERVICES = {"discovery": PilotConfig, "galley": GalleyConfig, "citadel": CitadelConfig,
            "mixer": MixerConfig}  # fmt: skip
CASES = [pytest.param(profile(name), id=name) for name in PROFILES] + [
    pytest.param(merged(profile("default"), each), id=name)
    for name, each in COMBINATIONS.items()
    if not name.startswith("remote")
]


def services(found: list[Object]) -> dict[str, tuple[Any, Object, Object]]:
    """Settings, container and pod of each service."""
    result: dict[str, tuple[Any, Object, Object]] = {}
    for name, pod in pods(found):
        for each in containers(pod):
            if each["name"] in SERVICES:
                prefix = each["name"].replace("discovery", "pilot")
                settings = parse(
                    SERVICES[each["name"]], each["args"], environment(each), prefix=prefix.upper()
                )
                result[name.partition("/")[2]] = settings, each, pod
    return result


def listens(settings: Any) -> set[int]:
    """Ports of all listeners."""
    addresses = [getattr(settings, name) for name in vars(settings) if name.endswith("listen")]
    return {int(each.rpartition(":")[2]) for each in addresses if each}


@pytest.mark.parametrize("values", CASES)
def test_services_understand_their_flags(values: Object) -> None:
    for name, (settings, container, pod) in services(rendered(values)).items():
        unused = {42422} if name == "istio-policy" else set()  # it takes no reports
        ports = {each["containerPort"] for each in container["ports"]}
        assert listens(settings) - unused == ports, name
        account = getattr(settings, "service_account", "istio-citadel-service-account")
        assert pod["spec"]["serviceAccountName"] == account
        (secret,) = (v["secret"]["secretName"] for v in pod["spec"]["volumes"]
                     if v["name"] == "etcd")  # fmt: skip
        assert secret.removeprefix("mast-etcd-") in ROLES
        assert (settings.trust_domain, settings.namespace) == ("cluster.local", "istio-system")
        paths = [path for path in vars(settings).values() if hasattr(path, "parts")]
        mounts = {each["mountPath"] for each in container["volumeMounts"]}
        for path in paths:
            inside = any(
                str(path).startswith(f"{mount}/") or str(path) == mount for mount in mounts
            )
            assert inside or not path.is_absolute(), f"{name}: {path}"
        for action in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[action]["httpGet"]["port"] in ports


@pytest.mark.parametrize("values", CASES)
def test_other_programs_understand_theirs(values: Object) -> None:
    for name, pod in pods(rendered(values)):
        for each in containers(pod):
            if each["name"] not in SERVICES:
                READERS[each["name"]](each["args"], environment(each))
                assert name


def agent(arguments: Sequence[str], env: dict[str, str]) -> None:
    command, *flags = arguments
    assert command == "proxy"
    assert Flags.parse(flags).role == "router"
    config = AgentConfig.parse(env)
    assert config.ca_address.endswith(".svc:8060")


def node_agent(arguments: Sequence[str], env: dict[str, str]) -> None:
    command, *flags = arguments
    assert command == "cni"
    config = parse(CniConfig, flags, env, prefix="CNI")
    assert config.node_name == "$(NODE_NAME)"
    assert listens(config) == {8000, 15014}


def mastctl(arguments: Sequence[str], _: dict[str, str]) -> None:
    group, command, *flags = arguments
    assert group == "etcd"
    known: Any = typer.main.get_command(commands)
    known.commands[command].make_context(command, flags)


@cache
def understood(arguments: tuple[str, ...]) -> str:
    """What etcd complains of, having read all of its flags."""
    line = [etcd.binary(), *arguments, "--version"]
    told = subprocess.run(line, capture_output=True, text=True, timeout=30)
    return "" if told.returncode == 0 else told.stdout + told.stderr


def members(arguments: Sequence[str], _: dict[str, str]) -> None:
    assert understood(tuple(arguments)) == ""


def anything(arguments: Sequence[str], _: dict[str, str]) -> None:
    compile(arguments[0], "helm test", "exec")
    assert all(each.startswith("http://") for each in arguments[1:])


READERS: dict[str, Callable[[Sequence[str], dict[str, str]], None]] = {
    "install-cni": node_agent,
    "istio-proxy": agent,
    "bootstrap": mastctl,
    "snapshot": mastctl,
    "etcd": members,
    "ready": anything,
}


def test_values_reach_their_flags() -> None:
    values = merged(
        COMBINATIONS["1.4-names"],
        {
            "global": {
                "trustDomain": "mesh.example",
                "logging": {"level": "default:warn,ads:debug"},
                "multiCluster": {"clusterName": "east"},
                "proxy": {"clusterDomain": "k8s.example"},
            },
            "security": {
                "workloadCertTtl": "1h",
                "customDnsNames": ["a.b:c"],
                "revisions": ["next"],
            },
            "mixer": {"telemetry": {"loadshedding": {"mode": "enforce"}}},
            "revision": "canary",
        },
    )
    found = {name: settings for name, (settings, _, _) in services(rendered(values)).items()}
    citadel, galley = found["istio-citadel"], found["istio-galley-canary"]
    assert {each.trust_domain for each in found.values()} == {"mesh.example"}
    assert {each.log_level for each in found.values()} == {"warning"}
    assert citadel.trust_domain_aliases == ("old.example",)
    assert citadel.workload_cert_ttl.total_seconds() == 3600
    assert (citadel.cluster_id, galley.cluster) == ("east", "east")
    assert citadel.registrars == (
        "spiffe://mesh.example/ns/istio-system/sa/istio-galley-service-account",
    )
    pilot = found["istio-pilot-canary"]
    account = f"spiffe://{pilot.trust_domain}/ns/{pilot.namespace}/sa/{pilot.service_account}"
    assert citadel.relays == (account,)
    assert citadel.custom_dns_names[0] == "a.b:c"
    assert {
        "istio-pilot-service-account.istio-system:istiod-canary.istio-system.svc",
        "istio-galley-service-account.istio-system:istio-galley-next.istio-system.svc",
    } < set(citadel.custom_dns_names)
    assert (galley.compat, galley.revision, galley.workload_secrets) == ("1.4", "canary", True)
    assert galley.allowed_writers == ("spiffe://cluster.local/ns/ci/sa/deploy",)
    assert found["istio-telemetry"].loadshedding_mode == "enforce"
    assert found["istio-policy"].loadshedding_mode == "disabled"
    assert pilot.domain == "k8s.example"
    assert pilot.etcd_endpoints[2] == "mast-etcd-2.mast-etcd.istio-system.svc.k8s.example:2379"


@pytest.mark.parametrize(
    ("values", "listening"),
    [
        pytest.param({}, "127.0.0.1:", id="closed"),
        pytest.param(COMBINATIONS["plaintext"], "[::]:", id="open"),
        pytest.param(
            merged(COMBINATIONS["plaintext"], COMBINATIONS["addresses"]), "0.0.0.0:", id="ipv4"
        ),
    ],
)
def test_plaintext_stays_here_unless_it_is_wanted(values: Object, listening: str) -> None:
    found = services(rendered(values))
    plain = [found[name][0].listen for name in ("istio-pilot", "istio-policy", "istio-telemetry")]
    assert all(each.startswith(listening) for each in plain)


def test_current_names_of_pilots_values_win() -> None:
    found = rendered(COMBINATIONS["current-names"])
    by_name = {name_of(each): each for each in found}
    assert by_name["HorizontalPodAutoscaler/istio-pilot"]["spec"]["minReplicas"] == 3
    (container,) = by_name["Deployment/istio-pilot"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": 1}}
    assert environment(container)["ENABLE_NATIVE_SIDECARS"] == "true"
