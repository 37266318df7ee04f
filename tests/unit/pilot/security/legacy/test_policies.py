"""Which authentication Policy holds for a service port (pilot.md J8)."""

import pytest

from mast.pilot.core.security.legacy.policies import Level, authentication_policies
from tests.support.legacy_objects import mesh_policy, policy, service
from tests.support.mesh_yaml import scope, sidecar_proxy

MESH = mesh_policy("{peers: [{mtls: {}}]}")
OWN = policy("default", "{peers: [{mtls: {}}]}")
WEB = policy("web", "{targets: [{name: web}]}")
PORTS = [("http", 80), ("admin", 81)]


def targeted(target: str, name: str = "web") -> str:
    return policy(name, f"{{targets: [{target}]}}")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([], None, id="none"),
        pytest.param([MESH], (Level.MESH, "default"), id="mesh"),
        pytest.param([MESH, OWN], (Level.NAMESPACE, "default"), id="namespace"),
        pytest.param([MESH, OWN, WEB], (Level.WORKLOAD, "web"), id="service"),
        pytest.param([policy("x", "{peers: [{mtls: {}}]}")], None, id="other-name"),
        pytest.param([OWN, targeted("{name: other}")], (Level.NAMESPACE, "default"), id="other"),
        pytest.param(
            [targeted("{name: web, ports: [{number: 80}]}")], (Level.WORKLOAD, "web"), id="number"
        ),
        pytest.param(
            [targeted("{name: web, ports: [{number: 81}, {name: http}]}")],
            (Level.WORKLOAD, "web"),
            id="name-of-the-port",
        ),
        pytest.param([targeted("{name: web, ports: [{number: 8080}]}")], None, id="no-such-port"),
        pytest.param([targeted("{name: web, ports: [{name: admin}]}")], None, id="other-port"),
        pytest.param(
            [targeted("{name: web, labels: {app: web}}")], (Level.WORKLOAD, "web"), id="labels"
        ),
        pytest.param([targeted("{name: web, labels: {app: x}}")], None, id="other-labels"),
        pytest.param(
            [targeted("{name: web}", "first"), targeted("{name: web}", "second")],
            (Level.WORKLOAD, "first"),
            id="oldest",
        ),
        pytest.param(
            [targeted("{name: web, ports: [{number: 81}]}", "first"), WEB],
            (Level.WORKLOAD, "web"),
            id="next-that-fits",
        ),
    ],
)
def test_held(texts: list[str], expected: tuple[Level, str] | None) -> None:
    made = service(PORTS)
    found = authentication_policies(scope(sidecar_proxy(), *texts), "shop").of(
        made, made.port(80), {"app": "web"}
    )
    assert (found and (found.level, found.config.meta.name)) == expected


def test_what_is_of_no_service_has_the_general_policy() -> None:
    policies = authentication_policies(scope(sidecar_proxy(), OWN, WEB), "shop")
    for made in (None, service(host="other.test")):
        port = made.port(80) if made else None
        found = policies.of(made, port, {})
        assert found is not None
        assert found.level is Level.NAMESPACE
        assert found.policy.peers


def test_they_are_worked_out_once() -> None:
    seen = scope(sidecar_proxy(), OWN)
    assert authentication_policies(seen, "shop") is authentication_policies(seen, "shop")
