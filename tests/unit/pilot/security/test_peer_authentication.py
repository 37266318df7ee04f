"""Mutual TLS modes of workloads (pilot.md J1, J8)."""

import pytest
from envoy.config.core.v3.base_pb2 import Node

from mast.pilot.core.model.proxy import parse
from mast.pilot.core.security.peer_authentication import (
    Mode,
    PeerPolicy,
    called_policies,
    served_mode,
    served_policy,
)
from tests.support.golden_view import resources_of
from tests.support.legacy_objects import service
from tests.support.mesh_yaml import scope, sidecar_proxy, world

WEB = {"app": "web"}


def policy(name: str, spec: str, namespace: str = "shop") -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )


def old_policy(spec: str, kind: str = "Policy", name: str = "default") -> str:
    namespace = ", namespace: shop" if kind == "Policy" else ""
    return (
        f"apiVersion: authentication.istio.io/v1alpha1\nkind: {kind}\n"
        f"metadata: {{name: {name}{namespace}}}\nspec: {spec}\n---\n"
    )


MESH = policy("mesh", "{mtls: {mode: STRICT}}", "istio-system")
OWN = policy("own", "{mtls: {mode: DISABLE}}")
UNSET = policy("unset", "{}")
SELECTING = policy("web", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}")
INHERITING = policy(
    "inherits",
    "{selector: {matchLabels: {app: web}}, "
    "portLevelMtls: {'80': {mode: DISABLE}, '81': {mode: UNSET}}}",
)
ROOT_SELECTING = policy(
    "web", "{selector: {matchLabels: {app: web}}, mtls: {mode: DISABLE}}", "istio-system"
)
MTLS, PERMISSIVE = "{peers: [{mtls: {}}]}", "{peers: [{mtls: {mode: PERMISSIVE}}]}"


@pytest.mark.parametrize(
    ("texts", "labels", "mode"),
    [
        pytest.param([], WEB, Mode.PERMISSIVE, id="default"),
        pytest.param([MESH], WEB, Mode.STRICT, id="mesh"),
        pytest.param([MESH, OWN], WEB, Mode.DISABLE, id="namespace"),
        pytest.param([MESH, UNSET], WEB, Mode.STRICT, id="unset-inherits"),
        pytest.param([UNSET, OWN, MESH], WEB, Mode.STRICT, id="oldest-of-a-level"),
        pytest.param([OWN, SELECTING], WEB, Mode.STRICT, id="selected"),
        pytest.param([OWN, SELECTING], {}, Mode.DISABLE, id="not-selected"),
        pytest.param([OWN, INHERITING], WEB, Mode.DISABLE, id="selected-inherits"),
        pytest.param([INHERITING, SELECTING], WEB, Mode.PERMISSIVE, id="oldest-selected"),
        pytest.param([ROOT_SELECTING], WEB, Mode.PERMISSIVE, id="root-does-not-select"),
        pytest.param([old_policy(MTLS)], WEB, Mode.STRICT, id="old"),
        pytest.param([old_policy(PERMISSIVE)], WEB, Mode.PERMISSIVE, id="old-permissive"),
        pytest.param([old_policy("{peers: [{jwt: {}}]}")], WEB, Mode.DISABLE, id="old-without"),
        pytest.param(
            [old_policy("{peerIsOptional: true, peers: [{mtls: {}}]}")],
            WEB,
            Mode.PERMISSIVE,
            id="old-optional",
        ),
        pytest.param(
            [old_policy("{peers: [{mtls: {allowTls: true}}]}", "MeshPolicy")],
            WEB,
            Mode.PERMISSIVE,
            id="old-other-tls",
        ),
        pytest.param([old_policy(MTLS, name="x")], WEB, Mode.PERMISSIVE, id="old-other-name"),
        pytest.param(
            [old_policy("{targets: [{name: a}], peers: [{mtls: {}}]}")],
            WEB,
            Mode.PERMISSIVE,
            id="old-with-targets",
        ),
        pytest.param([old_policy(MTLS, "MeshPolicy")], WEB, Mode.STRICT, id="old-mesh"),
        pytest.param([old_policy(MTLS, "MeshPolicy"), OWN], WEB, Mode.DISABLE, id="old-overridden"),
        pytest.param([old_policy(PERMISSIVE), MESH], WEB, Mode.PERMISSIVE, id="old-over-mesh"),
    ],
)
def test_mode(texts: list[str], labels: dict[str, str], mode: Mode) -> None:
    found = scope(sidecar_proxy("web"), *texts)
    assert served_policy(found, "shop", labels).mode is mode
    assert called_policies(found, "shop").of(labels).mode is mode


ON, OFF = "peers: [{mtls: {}}]", "peers: []"
SELECTED_PORT = policy(
    "web", "{selector: {matchLabels: {app: web}}, portLevelMtls: {'8080': {mode: PERMISSIVE}}}"
)


def targeted(spec: str, target: str = "{name: web}") -> str:
    return old_policy(f"{{targets: [{target}], {spec}}}", name="web")


@pytest.mark.parametrize(
    ("texts", "labels", "mode", "modes"),
    [
        pytest.param([], WEB, Mode.PERMISSIVE, {"PERMISSIVE"}, id="none"),
        pytest.param([targeted(ON)], WEB, Mode.STRICT, {"STRICT"}, id="strict"),
        pytest.param([targeted(OFF), MESH], WEB, Mode.DISABLE, {"DISABLE"}, id="off"),
        pytest.param([targeted("origins: []")], WEB, Mode.DISABLE, {"DISABLE"}, id="no-peers"),
        pytest.param([targeted(f"{ON}, peerIsOptional: true")], WEB, Mode.PERMISSIVE,
                     {"PERMISSIVE"}, id="optional"),
        pytest.param([targeted("peers: [{mtls: {allowTls: true}}]")], WEB, Mode.PERMISSIVE,
                     {"PERMISSIVE"}, id="other-tls-allowed"),
        pytest.param([targeted(ON), OWN], WEB, Mode.STRICT, {"STRICT"}, id="over-the-namespace"),
        pytest.param([targeted(ON), old_policy("{}")], WEB, Mode.STRICT, {"STRICT"},
                     id="over-its-old-default"),
        pytest.param([targeted(OFF), SELECTING], WEB, Mode.STRICT, {"STRICT", "DISABLE"},
                     id="under-what-selects"),
        pytest.param([targeted(OFF), SELECTING], {}, Mode.DISABLE, {"STRICT", "DISABLE"},
                     id="where-nothing-selects"),
        pytest.param([targeted(ON), SELECTED_PORT], WEB, Mode.PERMISSIVE,
                     {"STRICT", "PERMISSIVE"}, id="under-what-selects-a-port"),
        pytest.param([targeted(ON, "{name: web, ports: [{number: 80}]}"), OWN], WEB, Mode.STRICT,
                     {"STRICT"}, id="port"),
        pytest.param([targeted(ON, "{name: web, ports: [{number: 8080}]}"), OWN], WEB,
                     Mode.DISABLE, {"DISABLE"}, id="port-of-the-workload"),
        pytest.param([targeted(ON, "{name: web, labels: {app: web}}"), OWN], WEB, Mode.STRICT,
                     {"STRICT", "DISABLE"}, id="labels"),
        pytest.param([targeted(ON, "{name: web, labels: {app: web}}"), OWN], {}, Mode.DISABLE,
                     {"STRICT", "DISABLE"}, id="other-labels"),
        pytest.param([targeted(ON, "{name: other}"), OWN], WEB, Mode.DISABLE, {"DISABLE"},
                     id="other-service"),
    ],
)  # fmt: skip
def test_old_policies_of_services(
    texts: list[str], labels: dict[str, str], mode: Mode, modes: set[str]
) -> None:
    """They count for ports that callers dial (pilot.md J8)."""
    found, made = scope(sidecar_proxy("web"), *texts), service()
    port = made.ports[0]
    assert served_mode(found, "shop", labels, 8080, made, port) is mode
    called = called_policies(found, "shop")
    assert called.on(labels, 8080, made, port) is mode
    assert called.modes(made, port) == modes


def test_ports_of_no_service_have_the_mode_of_the_namespace() -> None:
    found = scope(sidecar_proxy("web"), targeted(ON), OWN)
    assert served_mode(found, "shop", WEB, 8080, None, None) is Mode.DISABLE


def test_old_policies_of_the_root_namespace() -> None:
    """There a PeerAuthentication of the mesh is of the same level as the old default."""
    old = old_policy(MTLS).replace("namespace: shop", "namespace: istio-system")
    found = scope(sidecar_proxy("web"), old)
    assert served_policy(found, "istio-system", WEB).mode is Mode.STRICT
    assert served_policy(found, "shop", WEB).mode is Mode.PERMISSIVE
    permissive = policy("mesh", "{mtls: {mode: PERMISSIVE}}", "istio-system")
    found = scope(sidecar_proxy("web"), old, permissive)
    assert served_policy(found, "istio-system", WEB).mode is Mode.PERMISSIVE


def test_ports_of_a_workload() -> None:
    found = served_policy(scope(sidecar_proxy("web"), MESH, INHERITING), "shop", WEB)
    assert found == PeerPolicy(Mode.STRICT, {80: Mode.DISABLE, 81: Mode.STRICT})
    assert [found.on(port) for port in (80, 81, 82)] == [Mode.DISABLE, Mode.STRICT, Mode.STRICT]


def test_the_root_namespace_follows_the_mesh_policy() -> None:
    found = scope(sidecar_proxy("web"), MESH, ROOT_SELECTING)
    assert served_policy(found, "istio-system", WEB) == PeerPolicy(Mode.STRICT)


def test_policies_of_a_namespace_are_worked_out_once() -> None:
    found = scope(sidecar_proxy("web"), MESH)
    assert called_policies(found, "shop") is called_policies(found, "shop")


ROUTER = Node(id="router~10.1.0.7~in-1.edge~edge.svc.cluster.local")
ROUTER.metadata.update({"NAMESPACE": "edge", "LABELS": {"istio": "in"}})
GATEWAY = """
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: in, namespace: edge},
 spec: {selector: {istio: in},
        servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}}
"""


@pytest.mark.parametrize("mode", list(Mode))
def test_gateways_do_as_their_servers_say(mode: Mode) -> None:
    """Policies are for what workloads take from the mesh (pilot.md J1)."""

    def listeners(*texts: str) -> object:
        return resources_of(world(GATEWAY, *texts).snapshot(1).view(parse(ROUTER))).listeners

    assert listeners(policy("all", f"{{mtls: {{mode: {mode}}}}}", "edge")) == listeners() != {}
