"""Objects in step with the API server, whatever becomes of connections (G1 of the Galley spec)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from mast.common.kubernetes import (
    Api,
    ApiFailure,
    Batch,
    Forbidden,
    Form,
    connect,
    follow,
    follow_as,
)
from mast.common.kubernetes.objects import CONFIG_MAPS, NAMESPACES, Object, Resource
from tests.fakes.kubernetes.callers import Rule
from tests.fakes.kubernetes.objects import CRDS
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.until import until

THINGS = Resource("x.io", "v1", "things", "Thing")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with api_server() as running:
        running.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        yield running


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    async with connect(cluster.access()) as connected:
        yield connected


def put(cluster: Cluster, name: str, **data: str) -> None:
    if (CONFIG_MAPS, "shop", name) in cluster.objects.stored:
        cluster.objects.patch(
            CONFIG_MAPS, "shop", name, {"data": data}, "application/merge-patch+json"
        )
    else:
        made = {"metadata": {"name": name}, "data": data}
        cluster.objects.create(CONFIG_MAPS, "shop", made)


def told(batch: Batch) -> dict[str, object]:
    return {c.name: c.object and c.object.get("data") for c in batch.changes}


@asynccontextmanager
async def following(
    api: Api, resource: Resource = CONFIG_MAPS, **how: Any
) -> AsyncIterator[AsyncGenerator[Batch, None]]:
    batches = follow(api, resource, random=lambda: 0.0, **how)
    async with asyncio.timeout(30), aclosing(batches):
        yield batches


async def test_a_listing_and_then_every_change(cluster: Cluster, api: Api) -> None:
    put(cluster, "a", x="1")
    async with following(api) as batches:
        assert told(await anext(batches)) == {"a": {"x": "1"}}
        put(cluster, "a", x="2")
        changed = await anext(batches)
        assert told(changed) == {"a": {"x": "2"}}
        assert changed.changes[0].previous is not None
        cluster.objects.delete(CONFIG_MAPS, "shop", "a")
        assert told(await anext(batches)) == {"a": None}


async def test_an_empty_listing_is_told(api: Api) -> None:
    async with following(api) as batches:
        assert (await anext(batches)).changes == ()


async def test_a_cut_connection_loses_and_repeats_nothing(cluster: Cluster, api: Api) -> None:
    put(cluster, "a", x="1")
    async with following(api) as batches:
        await anext(batches)
        put(cluster, "b", x="1")
        assert told(await anext(batches)) == {"b": {"x": "1"}}
        cluster.cut()
        put(cluster, "c", x="1")
        assert told(await anext(batches)) == {"c": {"x": "1"}}


async def test_after_a_lost_version_only_differences_are_told(cluster: Cluster, api: Api) -> None:
    for name in ("same", "changed", "gone"):
        put(cluster, name, x="1")
    async with following(api) as batches:
        assert len((await anext(batches)).changes) == 3
        cluster.callers.refused.append(Rule("watch", "configmaps"))
        cluster.cut()
        put(cluster, "changed", x="2")
        put(cluster, "new", x="1")
        cluster.objects.delete(CONFIG_MAPS, "shop", "gone")
        cluster.objects.compact()
        cluster.callers.refused.clear()
        assert told(await anext(batches)) == {
            "changed": {"x": "2"},
            "new": {"x": "1"},
            "gone": None,
        }


async def test_what_a_server_says_twice_is_told_once(cluster: Cluster, api: Api) -> None:
    """Events that come twice, and versions that are forgotten whenever the server likes."""
    cluster.chaos.repeats = 1
    put(cluster, "a", x="0")
    async with following(api) as batches:
        assert told(await anext(batches)) == {"a": {"x": "0"}}
        for number in range(1, 4):
            put(cluster, "a", x=str(number))
            assert told(await anext(batches)) == {"a": {"x": str(number)}}
            cluster.expire()
        cluster.objects.delete(CONFIG_MAPS, "shop", "a")
        assert told(await anext(batches)) == {"a": None}


async def test_bookmarks_move_the_version(cluster: Cluster, api: Api) -> None:
    """What other kinds do ages the version; a bookmark keeps it fresh, so there is no relisting."""
    async with following(api) as batches:
        await anext(batches)
        listed = cluster.asked("GET /api/v1/configmaps")
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(anext(batches))  # type: ignore[arg-type]
            cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "other"}})
            seen = cluster.bookmarks
            await until(lambda: cluster.bookmarks > seen + 1)
            cluster.objects.oldest = cluster.objects.revision
            cluster.cut()
            put(cluster, "a", x="1")
            assert told(await waiting) == {"a": {"x": "1"}}
        assert cluster.asked("GET /api/v1/configmaps") <= listed + 2


async def test_refusals_are_waited_out_and_told_once(cluster: Cluster, api: Api) -> None:
    put(cluster, "a", x="1")
    cluster.callers.refused.append(Rule("list", "configmaps"))
    states: list[ApiFailure | None] = []
    with capture_logs() as logs:
        async with following(api, state=states.append) as batches, asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(anext(batches))  # type: ignore[arg-type]
            await until(lambda: cluster.asked("GET /api/v1/configmaps") > 1)
            cluster.callers.refused.clear()
            assert told(await waiting) == {"a": {"x": "1"}}
            put(cluster, "b", x="1")
            await anext(batches)
    assert [log["event"] for log in logs].count("kubernetes.unavailable") == 1
    assert [type(each) for each in states[:-1]] == [Forbidden] * (len(states) - 1)
    assert states[-1] is None


CRD: Object = {
    "metadata": {"name": "things.x.io"},
    "spec": {
        "group": "x.io",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1"}],
    },
}


async def test_a_kind_that_comes_later_and_goes(cluster: Cluster, api: Api) -> None:
    """A CRD that is missing is no error (A2.3)."""
    async with following(api, THINGS) as batches:
        assert (await anext(batches)).changes == ()
        cluster.objects.create(CRDS, "", CRD)
        cluster.objects.create(THINGS, "shop", {"metadata": {"name": "a"}, "data": 1})
        assert told(await anext(batches)) == {"a": 1}
        cluster.objects.unserve(THINGS)
        assert told(await anext(batches)) == {"a": None}


async def test_a_kind_that_is_defined_does_not_lose_its_objects(cluster: Cluster, api: Api) -> None:
    """Between two versions an API server serves none."""
    cluster.objects.create(CRDS, "", CRD)
    async with following(api, THINGS, defined=True) as batches:
        assert (await anext(batches)).changes == ()
        cluster.objects.create(THINGS, "shop", {"metadata": {"name": "a"}, "data": 1})
        assert told(await anext(batches)) == {"a": 1}  # A watch is open.
        del cluster.objects.resources["x.io", "v1", "things"]
        asked = cluster.asked("GET /apis/x.io/v1/things")
        cluster.cut()
        async with asyncio.TaskGroup() as tasks:
            following_on = tasks.create_task(anext(batches))
            await until(lambda: cluster.asked("GET /apis/x.io/v1/things") > asked)
            cluster.objects.serve(THINGS)
            cluster.objects.create(THINGS, "shop", {"metadata": {"name": "b"}, "data": 2})
        assert told(following_on.result()) == {"b": 2}


async def test_what_nobody_reads_is_dropped(cluster: Cluster, api: Api) -> None:
    note = "kubectl.kubernetes.io/last-applied-configuration"
    metadata = {"name": "a", "managedFields": [1], "annotations": {note: "{}", "b": "c"}}
    cluster.objects.create(CONFIG_MAPS, "shop", {"metadata": metadata})
    async with following(api) as batches:
        (change,) = (await anext(batches)).changes
    assert change.object is not None
    assert change.object["metadata"]["annotations"] == {"b": "c"}
    assert "managedFields" not in change.object["metadata"]


def names_only(found: Object) -> tuple[str, ...]:
    return tuple(sorted(found.get("data") or {}))


async def test_what_comes_to_the_same_is_not_told(cluster: Cluster, api: Api) -> None:
    put(cluster, "a", x="1")
    batches = follow_as(Form(None, names_only), api, CONFIG_MAPS)
    async with asyncio.timeout(30), aclosing(batches):
        (first,) = (await anext(batches)).changes
        assert (first.name, first.object, first.previous) == ("a", ("x",), None)
        put(cluster, "a", x="2")
        put(cluster, "a", x="2", y="1")
        (second,) = (await anext(batches)).changes
        assert (second.object, second.previous) == (("x", "y"), ("x",))


async def test_events_that_come_together_are_one_change_of_each_object(
    cluster: Cluster, api: Api
) -> None:
    put(cluster, "kept", x="0")
    async with following(api) as batches:
        await anext(batches)
        for number in range(1, 50):
            put(cluster, "kept", x=str(number))
        put(cluster, "brief", x="1")
        cluster.objects.delete(CONFIG_MAPS, "shop", "brief")
        put(cluster, "last", x="1")
        found: dict[str, object] = {}
        while "last" not in found:
            batch = await anext(batches)
            assert len({change.name for change in batch.changes}) == len(batch.changes)
            found |= told(batch)
    assert found == {"kept": {"x": "49"}, "brief": None, "last": {"x": "1"}}
