"""Roles as RBAC rules before a service port (pilot.md J7)."""

import pytest
from envoy.config.rbac.v3.rbac_pb2 import RBAC

from mast.pilot.core.security.authorization.rules import Carrier
from mast.pilot.core.security.legacy.access_control import access_rules
from tests.support.legacy_objects import binding, destination, role, switch
from tests.support.mesh_yaml import scope, sidecar_proxy

TRIED = "mode: PERMISSIVE,"
READERS = role("readers", "{services: ['*'], methods: [GET]}", "{services: [other]}")
STREAMS = role("streams", "{services: [web], ports: [80]}")
ANYBODY = "{user: '*'}"
GROUP = "{group: staff}"


def names(found: RBAC | None) -> list[str] | None:
    return sorted(found.policies) if found is not None else None


@pytest.mark.parametrize(
    ("texts", "carrier", "enforced", "shadow"),
    [
        pytest.param([], Carrier.HTTP, [], None, id="nothing-allowed"),
        pytest.param(
            [READERS, binding("b", "readers", ANYBODY)], Carrier.HTTP, ["readers"], None, id="role"
        ),
        pytest.param(
            [READERS, binding("b", "readers", ANYBODY)], Carrier.TCP, [], None, id="not-on-tcp"
        ),
        pytest.param(
            [STREAMS, binding("b", "streams", ANYBODY)], Carrier.TCP, ["streams"], None, id="tcp"
        ),
        pytest.param(
            [STREAMS, binding("b", "streams", GROUP)], Carrier.TCP, [], None, id="tokens-not-on-tcp"
        ),
        pytest.param(
            [READERS, STREAMS, binding("b", "readers", ANYBODY), binding("c", "streams", ANYBODY)],
            Carrier.HTTP,
            ["readers", "streams"],
            None,
            id="two-roles",
        ),
        pytest.param(
            [READERS, binding("b", "readers", ANYBODY, more=TRIED)],
            Carrier.HTTP,
            [],
            ["readers"],
            id="tried",
        ),
        pytest.param(
            [role("r", "{services: [other]}"), binding("b", "r", ANYBODY)],
            Carrier.HTTP,
            [],
            None,
            id="other-service",
        ),
    ],
)
def test_rules(
    texts: list[str], carrier: Carrier, enforced: list[str], shadow: list[str] | None
) -> None:
    seen = scope(sidecar_proxy(), switch(), *texts)
    found = access_rules(seen, destination(), carrier)
    assert found is not None
    assert (names(found.enforced), names(found.shadow)) == (enforced, shadow)
    assert found.shadow_prefix == ""


def test_off() -> None:
    seen = scope(sidecar_proxy(), READERS, binding("b", "readers", ANYBODY))
    assert access_rules(seen, destination(), Carrier.HTTP) is None


def test_a_switch_that_is_only_tried_refuses_nothing() -> None:
    seen = scope(
        sidecar_proxy(),
        switch("{mode: ON, enforcementMode: PERMISSIVE}"),
        READERS,
        binding("b", "readers", "{user: ann}"),
        binding("c", "readers", "{user: bob}", more=TRIED),
    )
    found = access_rules(seen, destination(), Carrier.HTTP)
    assert found is not None
    assert found.enforced is None
    assert found.shadow is not None
    assert names(found.shadow) == ["readers"]
    policy = found.shadow.policies["readers"]
    assert (len(policy.permissions), len(policy.principals)) == (1, 2)


def test_whose_identity_counts() -> None:
    ann = "{properties: {request.auth.principal: a/b}}"
    seen = scope(sidecar_proxy(), switch(), READERS, binding("b", "readers", ann))
    by_peer = access_rules(seen, destination(), Carrier.HTTP, bound_to_peer=True)
    by_token = access_rules(seen, destination(), Carrier.HTTP)
    assert by_peer is not None
    assert by_token is not None
    assert "authenticated" in str(by_peer.enforced)
    assert "authenticated" not in str(by_token.enforced)
    assert "jwt_authn" in str(by_token.enforced)
