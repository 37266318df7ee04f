"""A world that follows changes is the world that was built of the result at once."""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mast.pilot.core.model.finding import Finding
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import CDS, EDS, LDS, NDS, RDS, Resource, View
from mast.pilot.core.xds.selection import (
    EMPTY_VERSIONS,
    NOTHING,
    difference,
    named,
)
from mast.pilot.core.xds.selections import Selections
from tests.property.pilot_meshes import BASE, HOSTS, LABELS, changes
from tests.support.mesh_yaml import Put, sidecar_proxy
from tests.support.mesh_yaml import changes as written

PROXIES: Sequence[Proxy] = (
    sidecar_proxy("shop", ip="10.1.0.1", labels=LABELS[0], CLUSTER_ID="east", NODE_NAME="n1"),
    sidecar_proxy("shop", ip="10.1.0.9", labels=LABELS[1], CLUSTER_ID="east", NODE_NAME="n2"),
    sidecar_proxy("web", ip="10.1.0.2", labels=LABELS[2], DNS_CAPTURE="true", NETWORK="north"),
    sidecar_proxy("istio-system", ip="10.1.0.3", labels={}, INTERCEPTION_MODE="NONE"),
)
ROUTES = ("80", "82", "83", "http_proxy", *(f"{host}:82" for host in HOSTS))

Seen = dict[tuple[str, str], Resource]

quick = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def everything(view: View) -> Seen:
    """All resources of a view by type and name."""
    found = {
        (type_url, each.name): each
        for type_url in (CDS, LDS, NDS)
        for each in view.collection(type_url)
    }
    for type_url, names in ((EDS, view.collection(CDS).requires), (RDS, frozenset(ROUTES))):
        for name in sorted(names):
            resource = view.named(type_url, name)
            assert resource is not None
            found[type_url, name] = resource
    return found


def all_views(snapshot: MeshSnapshot) -> list[Seen]:
    return [everything(snapshot.view(proxy)) for proxy in PROXIES]


def bodies(views: list[Seen]) -> list[dict[tuple[str, str], bytes]]:
    return [{key: each.body for key, each in seen.items()} for seen in views]


def rebuilt(steps: Sequence[Sequence[Put]], order: Sequence[int] | None = None) -> World:
    """A world that is told the outcome of all steps at once."""
    outcome = {each.key: each for step in steps for each in step}
    puts = [outcome[key] for key in sorted(outcome)]
    if order is not None:
        puts = sorted(puts, key=lambda each: order[hash(each.key) % len(order)])
    world = World()
    assert not world.apply(puts)
    return world


@quick
@given(st.lists(st.lists(changes, min_size=1, max_size=3), min_size=1, max_size=6))
def test_following_equals_rebuilding(steps: list[list[Put]]) -> None:
    world = World()
    steps.insert(0, list(written(BASE)))
    for step in steps:
        assert not world.apply(step)
        all_views(world.snapshot())
    assert bodies(all_views(world.snapshot())) == bodies(all_views(rebuilt(steps).snapshot()))


@quick
@given(st.lists(st.lists(changes, min_size=1, max_size=3), min_size=2, max_size=6))
def test_subscriptions_that_follow_equal_new_ones(steps: list[list[Put]]) -> None:
    """Names are looked up again if they may have changed; nobody sees the difference."""
    world, selections = World(), Selections()
    world.apply(written(BASE))
    asked = {
        EDS: frozenset(f"outbound|{port}||{host}" for host in HOSTS for port in (80, 82, 90)),
        RDS: frozenset(ROUTES),
    }
    held = {(each, url): EMPTY_VERSIONS for each, _ in enumerate(PROXIES) for url in asked}
    for step in steps:
        assert not world.apply(step)
        snapshot = world.snapshot()
        selections.age()
        for (number, url), before in held.items():
            view = snapshot.view(PROXIES[number])
            wanted = selections.select(view, url, asked[url], wildcard=False, stand_ins=NOTHING)
            fresh = named(view, url, asked[url], NOTHING)
            assert wanted.layers[0].same_as(fresh)
            assert wanted.versions == fresh.versions
            told = selections.difference(before, wanted, NOTHING)
            from_nothing = difference(dict(before), wanted)
            assert (told.changed, told.removed) == (from_nothing.changed, from_nothing.removed)
            held[number, url] = wanted.versions


@quick
@given(
    st.lists(changes, min_size=2, max_size=12),
    st.lists(st.integers(0, 99), min_size=3, max_size=7),
)
def test_order_of_arrival_does_not_matter(puts: list[Put], order: list[int]) -> None:
    one, other = rebuilt([puts]), rebuilt([puts], order)
    assert bodies(all_views(one.snapshot())) == bodies(all_views(other.snapshot()))


@quick
@given(st.lists(changes, min_size=1, max_size=8), st.lists(changes, min_size=1, max_size=2))
def test_what_did_not_change_is_the_same_object(before: list[Put], change: list[Put]) -> None:
    world = World()
    world.apply([*written(BASE), *before])
    old = all_views(world.snapshot())
    world.apply(change)
    new = all_views(world.snapshot())
    for seen, now in zip(old, new, strict=True):
        for key in seen.keys() & now.keys():
            if seen[key].version == now[key].version:
                assert seen[key] is now[key], key


@quick
@given(st.lists(changes, min_size=1, max_size=8), st.lists(changes, min_size=1, max_size=4))
def test_a_snapshot_does_not_change(before: list[Put], later: list[Put]) -> None:
    world = World()
    world.apply([*written(BASE), *before])
    snapshot = world.snapshot()
    world.apply(later)
    all_views(world.snapshot())
    untouched = World()
    untouched.apply([*written(BASE), *before])
    assert bodies(all_views(snapshot)) == bodies(all_views(untouched.snapshot()))


@settings(quick, max_examples=15)
@given(st.lists(st.lists(changes, min_size=1, max_size=3), min_size=1, max_size=6))
def test_findings_of_following_are_those_of_rebuilding(steps: list[list[Put]]) -> None:
    """What is wrong now: nothing more, nothing less, whatever was wrong before (N10)."""
    world = World()
    steps.insert(0, list(written(BASE)))
    for step in steps:
        assert not world.apply(step)
        found = findings(world)
    assert found == findings(rebuilt(steps))


def findings(world: World) -> frozenset[Finding]:
    snapshot = world.snapshot()
    all_views(snapshot)
    for step in snapshot.review():
        step()
    return snapshot.findings(PROXIES)
