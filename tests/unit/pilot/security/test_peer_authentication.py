"""Mutual TLS modes of workloads (pilot.md J1, J8)."""

import pytest

from mast.pilot.core.security.peer_authentication import (
    Mode,
    PeerPolicy,
    called_policies,
    served_policy,
)
from tests.support.mesh_yaml import scope, sidecar_proxy

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
