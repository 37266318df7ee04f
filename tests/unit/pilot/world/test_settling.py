"""Changes to and from mutual TLS go on in steps (pilot.md J1; MeshConfig, "enableAutoMtls")."""

import pytest

from mast.pilot.core.security.peer_authentication import (
    Mode,
    called_policies,
    served_policy,
)
from mast.pilot.core.world.world import World
from tests.support.golden_view import resources_of
from tests.support.mesh_yaml import Put, changes, sidecar_proxy

WEB = {"app": "web"}
DISABLE, PERMISSIVE, STRICT = Mode
ROOT = "istio-system"
STEPS = 3
"""What servers and callers do at once, after one step, after all."""


def policy(mode: Mode, namespace: str = "shop", name: str = "default", ports: str = "") -> str:
    selector = f"selector: {{matchLabels: {{app: web}}}}, portLevelMtls: {{{ports}}}, "
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{{selector if ports else ''}mtls: {{mode: {mode}}}}}\n---\n"
    )


def gradual(*texts: str) -> World:
    """A world that has been read, and pushed."""
    made = World(gradual=True)
    assert not made.apply(changes(*texts))
    made.snapshot(1)
    return made


def modes(made: World, port: int = 8080) -> tuple[Mode, Mode]:
    """What the workload does, and what callers take it to do."""
    scope = made.snapshot().scope("shop")
    called = called_policies(scope, "shop").of(WEB)
    return served_policy(scope, "shop", WEB).on(port), called.on(port)


def course(made: World, *texts: str) -> list[tuple[Mode, Mode]]:
    """What a change brings, step by step."""
    assert not made.apply(changes(*texts))
    found = []
    for _ in range(STEPS):
        found.append(modes(made))
        made.proceed()
    return found


@pytest.mark.parametrize(
    ("before", "now", "between"),
    [
        pytest.param(DISABLE, PERMISSIVE, PERMISSIVE, id="on"),
        pytest.param(DISABLE, STRICT, PERMISSIVE, id="on-strictly"),
        pytest.param(PERMISSIVE, DISABLE, PERMISSIVE, id="off"),
        pytest.param(STRICT, DISABLE, PERMISSIVE, id="off-from-strict"),
        pytest.param(PERMISSIVE, STRICT, STRICT, id="stricter"),
        pytest.param(STRICT, PERMISSIVE, PERMISSIVE, id="laxer"),
    ],
)
@pytest.mark.parametrize("namespace", ["shop", ROOT])
def test_servers_take_both_while_callers_follow(
    before: Mode, now: Mode, between: Mode, namespace: str
) -> None:
    """First servers get ready for both, then callers change over, then servers may insist."""
    made = gradual(policy(before, namespace))
    assert modes(made) == (before, before)
    assert course(made, policy(now, namespace)) == [
        (between, before),
        (between, now),
        (now, now),
    ]


def test_ports_are_told_apart() -> None:
    """One port changes; the others have nothing to wait for."""
    made = gradual(policy(STRICT, ports="'80': {mode: DISABLE}"))
    assert not made.apply(changes(policy(STRICT, ports="'80': {mode: STRICT}")))
    assert [modes(made, port) for port in (80, 81)] == [(PERMISSIVE, DISABLE), (STRICT, STRICT)]


def test_a_policy_that_goes_leaves_in_steps() -> None:
    made = gradual(policy(DISABLE))
    (put,) = changes(policy(DISABLE))
    assert not made.apply([Put(put.key, None)])
    assert modes(made) == (PERMISSIVE, DISABLE)
    made.proceed()
    assert modes(made) == (PERMISSIVE, PERMISSIVE)


def test_a_change_of_mind_begins_where_callers_are() -> None:
    """They never heard of the first change: nothing changes for them at all."""
    made = gradual(policy(DISABLE))
    assert course(made, policy(STRICT))[0] == (PERMISSIVE, DISABLE)
    made = gradual(policy(DISABLE))
    assert not made.apply(changes(policy(STRICT)))
    made.snapshot()
    assert course(made, policy(DISABLE)) == [(DISABLE, DISABLE)] * STEPS


def test_a_change_of_mind_after_callers_followed() -> None:
    made = gradual(policy(DISABLE))
    assert not made.apply(changes(policy(STRICT)))
    made.snapshot()
    made.proceed()
    assert modes(made) == (PERMISSIVE, STRICT)
    assert course(made, policy(DISABLE)) == [
        (PERMISSIVE, STRICT),
        (PERMISSIVE, DISABLE),
        (DISABLE, DISABLE),
    ]


def test_other_namespaces_do_not_wait() -> None:
    made = gradual(policy(DISABLE), policy(STRICT, "bank"))
    assert not made.apply(changes(policy(STRICT)))
    snapshot = made.snapshot()
    assert snapshot.index.settling.keys() == {"shop"}
    scope = snapshot.scope("bank")
    assert served_policy(scope, "bank", {}).mode is STRICT
    made.proceed()
    made.proceed()
    assert made.snapshot().index.settling == {}


def test_what_was_there_at_the_start_is_in_force_at_once() -> None:
    assert modes(gradual(policy(DISABLE))) == (DISABLE, DISABLE)


def test_only_pilots_worlds_are_gradual() -> None:
    """What is rendered from files is what will be, not the way there."""
    made = World()
    assert not made.apply(changes(policy(DISABLE)))
    made.snapshot(1)
    assert course(made, policy(STRICT))[0] == (STRICT, STRICT)


ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {security.istio.io/tlsMode: istio}}]
---
"""


@pytest.mark.parametrize("before", list(Mode))
@pytest.mark.parametrize("now", list(Mode))
def test_in_the_end_it_is_as_if_it_had_always_been_so(before: Mode, now: Mode) -> None:
    """Whatever was kept between is made anew where it matters."""
    made = gradual(ENTRY, policy(before))
    proxies = [sidecar_proxy(), sidecar_proxy(ip="10.0.0.1", labels=WEB)]
    for each in proxies:
        resources_of(made.snapshot().view(each))
    for _ in course(made, policy(now)):
        for each in proxies:
            resources_of(made.snapshot().view(each))
    fresh = gradual(ENTRY, policy(now))
    for each in proxies:
        told = resources_of(made.snapshot().view(each))
        assert told == resources_of(fresh.snapshot().view(each))


def test_endpoints_are_pushed_step_by_step() -> None:
    """The views of servers and callers follow, not only the policies."""
    made = gradual(ENTRY, policy(DISABLE))
    caller = sidecar_proxy()
    name = "outbound|80||web.shop.svc.cluster.local"

    def encrypted() -> bool:
        view = made.snapshot().view(caller)
        found = view.named(
            "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", name
        )
        assert found is not None
        return b"tlsMode" in found.body

    assert not encrypted()
    assert not made.apply(changes(policy(STRICT)))
    assert not encrypted()
    made.proceed()
    assert encrypted()
