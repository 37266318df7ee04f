"""Calls of an API server (Kubernetes API, "API concepts"), against the fake one over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mast.common.kubernetes import (
    AlreadyExists,
    Api,
    ApiError,
    ApiFailure,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Patch,
    Unauthorized,
    Unreachable,
    connect,
    labels_of,
    name_of,
)
from mast.common.kubernetes.errors import api_error
from mast.common.kubernetes.objects import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, Object, Resource
from tests.fakes.kubernetes.callers import Rule
from tests.fakes.kubernetes.kinds import DEPLOYMENTS
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.pki import Ca
from tests.support.watching import watch

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


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": labels or {}},
        "data": data,
    }


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (PODS, (), "/api/v1/pods"),
        (PODS, ("shop",), "/api/v1/namespaces/shop/pods"),
        (PODS, ("shop", "a", "status"), "/api/v1/namespaces/shop/pods/a/status"),
        (NAMESPACES, ("", "shop"), "/api/v1/namespaces/shop"),
        (
            Resource("x.io", "v2", "things", "Thing"),
            ("a/b",),
            "/apis/x.io/v2/namespaces/a%2Fb/things",
        ),
    ],
)
def test_paths(resource: Resource, arguments: tuple[str, ...], path: str) -> None:
    assert resource.path(*arguments) == path


def test_no_namespace_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="have no namespace"):
        NAMESPACES.path("shop")


async def test_an_object_from_creation_to_deletion(api: Api) -> None:
    made = await api.create(CONFIG_MAPS, config_map("a", b="1"))
    assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"b": "1"})
    changed = await api.update(CONFIG_MAPS, {**made, "data": {"b": "2"}})
    assert changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    patched = await api.patch(CONFIG_MAPS, "a", {"data": {"c": "3"}}, "shop")
    assert patched["data"] == {"b": "2", "c": "3"}
    steps = [{"op": "remove", "path": "/data/b"}]
    patched = await api.patch(CONFIG_MAPS, "a", steps, "shop", how=Patch.JSON)
    assert (await api.get(CONFIG_MAPS, "a", "shop"))["data"] == {"c": "3"}
    with pytest.raises(Conflict):
        await api.delete(CONFIG_MAPS, "a", "shop", uid="another")
    await api.delete(CONFIG_MAPS, "a", "shop", uid=patched["metadata"]["uid"])
    with pytest.raises(NotFound):
        await api.get(CONFIG_MAPS, "a", "shop")


async def test_kinds_are_asked_for(api: Api) -> None:
    found = {each.kind: each for each in await api.kinds("v1")}
    assert (found["ConfigMap"], found["Namespace"]) == (CONFIG_MAPS, NAMESPACES)
    assert DEPLOYMENTS in await api.kinds("apps/v1")
    with pytest.raises(NotFound):
        await api.kinds("monitoring.coreos.com/v1")


async def test_who_applies_may_have_another_name(api: Api) -> None:
    first = await api.apply(CONFIG_MAPS, {**config_map("a"), "data": {"x": "1"}}, manager="one")
    assert [each["manager"] for each in first["metadata"]["managedFields"]] == ["one"]
    with pytest.raises(Conflict, match='conflict with "one"'):
        await api.apply(CONFIG_MAPS, {**config_map("a"), "data": {"x": "2"}})


@pytest.mark.parametrize(("propagation", "left"), [("Background", False), ("Orphan", True)])
async def test_what_becomes_of_dependents(
    cluster: Cluster, api: Api, propagation: str, left: bool
) -> None:
    owner = await api.create(CONFIG_MAPS, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner"}
    uid = owner["metadata"]["uid"]
    references = [{**reference, "uid": uid}]
    body = {"metadata": {"name": "own", "ownerReferences": references}}
    cluster.objects.create(CONFIG_MAPS, "shop", body)
    await api.delete(CONFIG_MAPS, "owner", "shop", uid=uid, propagation=propagation)
    names = [name_of(each) for each in (await api.list(CONFIG_MAPS, "shop")).objects]
    assert names == (["own"] if left else [])


async def test_a_dry_run_stores_nothing(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map("a"), dry_run=True)
    assert (await api.list(CONFIG_MAPS, "shop")).objects == ()


async def test_only_the_first_writer_of_a_version_wins(api: Api) -> None:
    made = await api.create(CONFIG_MAPS, config_map("a"))
    await api.update(CONFIG_MAPS, {**made, "data": {"b": "1"}})
    with pytest.raises(Conflict, match="modified"):
        await api.update(CONFIG_MAPS, {**made, "data": {"b": "2"}})
    with pytest.raises(AlreadyExists):
        await api.create(CONFIG_MAPS, config_map("a"))


async def test_status_is_written_apart(api: Api) -> None:
    pod = {"metadata": {"name": "a", "namespace": "shop"}, "spec": {"x": 1}, "status": {"y": 1}}
    made = await api.create(PODS, pod)
    assert "status" not in made
    both = {**made, "spec": {"x": 2}, "status": {"y": 2}}
    after = await api.update(PODS, both, subresource="status")
    assert (after["spec"], after["status"]) == ({"x": 1}, {"y": 2})
    after = await api.update(PODS, {**after, "spec": {"x": 2}, "status": {}})
    assert (after["spec"], after["status"]) == ({"x": 2}, {"y": 2})


async def test_a_long_list_is_read_in_pages(cluster: Cluster, api: Api) -> None:
    for number in range(1201):
        cluster.objects.create(CONFIG_MAPS, "shop", {"metadata": {"name": f"n{number:04}"}})
    listing = await api.list(CONFIG_MAPS, "shop")
    assert [name_of(each) for each in listing.objects] == [f"n{n:04}" for n in range(1201)]
    assert {each["kind"] for each in listing.objects} == {"ConfigMap"}
    assert cluster.asked("GET /api/v1/namespaces/shop/configmaps") == 3


async def test_a_list_that_the_server_forgot_is_read_whole(cluster: Cluster, api: Api) -> None:
    for number in range(600):
        cluster.objects.create(CONFIG_MAPS, "shop", {"metadata": {"name": f"n{number:04}"}})

    class Forgetful(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            return False

    cluster.objects.pages = Forgetful()
    assert len((await api.list(CONFIG_MAPS, "shop")).objects) == 600


@pytest.mark.parametrize(
    ("selectors", "names"),
    [
        pytest.param({"labels": "app=a"}, ["one"], id="equal"),
        pytest.param({"labels": "app!=a"}, ["three", "two"], id="unequal"),
        pytest.param({"labels": "app in (a, b),tier"}, ["two"], id="set-and-existence"),
        pytest.param({"labels": "!app"}, ["three"], id="absence"),
        pytest.param({"fields": "metadata.name=two"}, ["two"], id="field"),
    ],
)
async def test_selectors(api: Api, selectors: dict[str, str], names: list[str]) -> None:
    await api.create(CONFIG_MAPS, config_map("one", {"app": "a"}))
    await api.create(CONFIG_MAPS, config_map("two", {"app": "b", "tier": "x"}))
    await api.create(CONFIG_MAPS, config_map("three"))
    listing = await api.list(CONFIG_MAPS, "shop", **selectors)
    assert [name_of(each) for each in listing.objects] == names


async def test_watching_tells_what_happens_after_a_version(cluster: Cluster, api: Api) -> None:
    version = (await api.list(CONFIG_MAPS)).version
    made = await api.create(CONFIG_MAPS, config_map("a", {"app": "x"}))
    await api.update(CONFIG_MAPS, {**made, "data": {"b": "1"}})
    await api.delete(CONFIG_MAPS, "a", "shop")
    seen = []
    watching = watch(api, CONFIG_MAPS, version, seconds=600)
    async with asyncio.timeout(30), aclosing(watching) as events:
        async for event in events:
            seen.append(event.type)
            if event.type == "BOOKMARK":
                assert event.object["metadata"]["resourceVersion"] == str(cluster.objects.revision)
                break
    assert seen == ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


async def test_what_ceases_to_be_selected_is_gone_for_a_watcher(api: Api) -> None:
    version = (await api.list(CONFIG_MAPS)).version
    made = await api.create(CONFIG_MAPS, config_map("a", {"app": "x"}))
    made["metadata"]["labels"] = {"app": "y"}
    await api.update(CONFIG_MAPS, made)
    watching = watch(api, CONFIG_MAPS, version, labels="app=x", seconds=600)
    async with asyncio.timeout(30), aclosing(watching) as events:
        assert [(await anext(events)).type for _ in range(2)] == ["ADDED", "DELETED"]


async def test_a_watch_ends_when_it_is_told_to(api: Api) -> None:
    async with asyncio.timeout(30):
        events = [e async for e in watch(api, CONFIG_MAPS, "", seconds=1)]
    assert {event.type for event in events} <= {"BOOKMARK"}


async def test_an_old_version_cannot_be_watched(cluster: Cluster, api: Api) -> None:
    version = (await api.list(CONFIG_MAPS)).version
    async with aclosing(watch(api, CONFIG_MAPS, version)) as events:
        cluster.objects.compact()
        with pytest.raises(Expired):
            await anext(events)


async def test_a_version_that_is_lost_in_between(cluster: Cluster, api: Api) -> None:
    version = (await api.list(CONFIG_MAPS)).version
    async with asyncio.timeout(30), aclosing(watch(api, CONFIG_MAPS, version)) as events:
        await api.create(CONFIG_MAPS, config_map("a"))
        assert (await anext(events)).type == "ADDED"
        cluster.objects.compact()
        with pytest.raises(Expired):
            [event async for event in events]


async def test_refusals(cluster: Cluster, api: Api) -> None:
    cluster.callers.refused.append(Rule("create", "secrets"))
    with pytest.raises(Forbidden, match='kubernetes-admin" cannot create'):
        await api.create(SECRETS, {"metadata": {"name": "a", "namespace": "shop"}})
    with pytest.raises(NotFound, match="namespaces"):
        await api.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "nowhere"}})
    with pytest.raises(Invalid):
        await api.create(CONFIG_MAPS, {"metadata": {"namespace": "shop"}})
    with pytest.raises(NotFound):
        await api.list(THINGS)


async def test_nothing_new_in_a_namespace_that_ends(cluster: Cluster, api: Api) -> None:
    held = {"metadata": {"name": "ending", "finalizers": ["test/hold"]}}
    made = await api.create(NAMESPACES, held)
    await api.delete(NAMESPACES, "ending")
    found = await api.get(NAMESPACES, "ending")
    assert found["status"] == {"phase": "Terminating"}
    with pytest.raises(Forbidden, match="being terminated"):
        await api.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "ending"}})
    found["metadata"].pop("finalizers")
    await api.update(NAMESPACES, found)
    with pytest.raises(NotFound):
        await api.get(NAMESPACES, "ending")
    assert made["status"] == {"phase": "Active"}


async def test_without_a_token_that_counts(cluster: Cluster) -> None:
    async with connect(cluster.access("stolen")) as stranger:
        with pytest.raises(Unauthorized):
            await stranger.list(PODS)


async def test_a_token_is_asked_for_every_time(cluster: Cluster) -> None:
    tokens = iter(["stolen", "admin-token"])
    async with connect(replace(cluster.access(), token=lambda: next(tokens))) as api:
        with pytest.raises(Unauthorized):
            await api.list(PODS)
        await api.list(PODS)


async def test_a_service_account_may_call(cluster: Cluster) -> None:
    token = cluster.callers.token("shop", "default")
    async with connect(cluster.access(token)) as api:
        assert labels_of(await api.get(NAMESPACES, "shop")) == {
            "kubernetes.io/metadata.name": "shop"
        }


async def test_a_server_of_another_ca_is_not_spoken_to(cluster: Cluster) -> None:
    access = replace(cluster.access(), ca_pem=Ca.root("another").pem)
    async with connect(access) as api:
        with pytest.raises(Unreachable):
            await api.list(PODS)
    assert cluster.requests == []
    async with connect(replace(access, insecure=True)) as api:
        await api.list(PODS)


async def test_a_server_that_does_not_answer(cluster: Cluster) -> None:
    cluster.answering.clear()
    async with connect(cluster.access(), timeout=timedelta(milliseconds=50)) as api:
        with pytest.raises(Unreachable, match="no answer"):
            await api.get(PODS, "a", "shop")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, {"reason": "InternalError", "message": "no", "code": 500}, ApiError),
        (503, "nothing", ApiError),
        (409, {"reason": "AlreadyExists", "code": 409}, AlreadyExists),
        (409, {"reason": "Conflict", "code": 409}, Conflict),
        (500, {"reason": "Expired", "code": 410}, Expired),
        (422, {}, Invalid),
    ],
)
def test_errors_by_status(status: int, body: Any, kind: type[ApiFailure]) -> None:
    assert type(api_error(status, body)) is kind


@asynccontextmanager
async def connect_proxy(target: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that leads to a target whatever is asked for: its URL and what was asked."""
    asked: list[bytes] = []
    host, _, port = target.rpartition(":")

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        back, forth = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pipe(reader, forth))
            tasks.create_task(pipe(back, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_through_a_proxy_to_a_server_of_another_name(cluster: Cluster) -> None:
    """kubeconfig's proxy-url and tls-server-name."""
    async with connect_proxy(cluster.url.removeprefix("https://")) as (proxy, asked):
        beyond = replace(
            cluster.access(),
            server="https://k8s.test:6443",
            proxy=proxy,
            tls_server_name="kubernetes.default.svc",
        )
        async with connect(beyond) as api:
            (found,) = (await api.list(NAMESPACES, fields="metadata.name=shop")).objects
            assert name_of(found) == "shop"
    assert asked == [b"CONNECT k8s.test:6443 HTTP/1.1"]
