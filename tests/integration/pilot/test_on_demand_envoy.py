"""An Envoy that asks for hosts beyond its Sidecar when they are called (pilot.md B25, item 33)."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from mast.pilot.core.xds.resources import CDS, RDS, VHDS
from tests.support.ads_server import until
from tests.support.envoy_server import complaints
from tests.support.http_probe import EchoServer, echo_server
from tests.support.meshed_envoy import Meshed, meshed_envoy, service

SECONDS = 4
"""A first request takes milliseconds; for a cluster Envoy would wait five seconds."""


def sidecar(*hosts: str, mode: str = "REGISTRY_ONLY") -> str:
    declared = ", ".join(f'"./{each}.test"' for each in hosts)
    return f"""
{{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {{name: default, namespace: shop}},
 spec: {{egress: [{{hosts: [{declared}]}}], outboundTrafficPolicy: {{mode: {mode}}}}}}}
"""


def leading_to(host: str, other: str) -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: VirtualService,
 metadata: {{name: {host}, namespace: shop}},
 spec: {{hosts: [{host}.test], http: [{{route: [{{destination: {{host: {other}.test}}}}]}}]}}}}
"""


@dataclass
class Shop:
    """A mesh in which only `a` is declared, and the servers behind `a`, `b` and `c`."""

    meshed: Meshed
    servers: dict[str, EchoServer]

    async def answer(self, host: str) -> str:
        """Who answered, or the status if it was not 200."""
        reply = await self.meshed.get(host)
        return reply.echo.server if reply.status == 200 else str(reply.status)

    async def dump(self) -> str:
        return await self.meshed.envoy.get("/config_dump?include_eds")


@asynccontextmanager
async def shop(directory: Path, *texts: str, mode: str = "REGISTRY_ONLY") -> AsyncIterator[Shop]:
    async with echo_server("a") as a, echo_server("b") as b, echo_server("c") as c:
        servers = {"a": a, "b": b, "c": c}
        known = [service(name, each.port) for name, each in servers.items()]
        async with meshed_envoy(
            directory, *known, *texts, sidecar("a", mode=mode), MAST_ON_DEMAND="true"
        ) as meshed:
            yield Shop(meshed, servers)
            assert complaints(meshed.envoy.log.read_text()) == []
            assert meshed.ads.metric("pilot_total_xds_rejects") == 0


async def test_hosts_come_when_they_are_called(
    tmp_path: Path, record_property: Callable[[str, float], None]
) -> None:
    async with shop(tmp_path) as found:
        assert await found.answer("a.test") == "a"
        assert "b.test" not in await found.dump()
        began = time.perf_counter()
        assert await found.answer("b.test") == "b"
        first = time.perf_counter() - began
        began = time.perf_counter()
        assert await found.answer("nobody.test") == "404"
        unknown = time.perf_counter() - began
        record_property("first request ms", round(first * 1000, 1))
        record_property("unknown host ms", round(unknown * 1000, 1))
        assert first < SECONDS
        assert unknown < SECONDS
        assert await found.answer("B.test:80") == "b"
        assert "c.test" not in await found.dump()


async def test_a_request_with_a_body_waits_as_well(tmp_path: Path) -> None:
    async with shop(tmp_path) as found, aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{found.meshed.port}/"
        async with client.post(url, headers={"host": "b.test"}, data=b"x" * 100_000) as reply:
            assert reply.status == 200
        assert len(found.servers["b"].seen) == 1


async def test_changes_reach_hosts_that_were_found(tmp_path: Path) -> None:
    async with shop(tmp_path) as found:
        assert await found.answer("b.test") == "b"
        assert await found.answer("late.test") == "404"
        await found.meshed.apply(leading_to("b", "c"))

        async def moved() -> bool:
            return await found.answer("b.test") == "c"

        await until(moved)
        late = service("late", found.servers["a"].port)
        await found.meshed.apply(late)

        async def there() -> bool:
            return await found.answer("late.test") == "a"

        await until(there)
        await found.meshed.remove(late)

        async def gone() -> bool:
            return await found.answer("late.test") == "404"

        await until(gone)


async def test_a_host_that_was_found_may_be_declared_and_undeclared(tmp_path: Path) -> None:
    """Its domain is never in the routes and among those found at the same time: no rejection."""
    async with shop(tmp_path) as found:
        assert await found.answer("b.test") == "b"
        hosts, routes = (found.meshed.ads.watch(each) for each in (VHDS, RDS))
        for declared, held in ((("a", "b"), False), (("a",), True)) * 2:
            await found.meshed.apply(sidecar(*declared))

            def settled(held: bool = held) -> bool:
                known = bool(hosts.held["http_proxy/b.test"])
                return known is held and hosts.quiet and routes.quiet

            await until(settled)

            async def answered() -> bool:
                return await found.answer("b.test") == "b"

            await until(answered)
            assert [await found.answer("b.test") for _ in range(10)] == ["b"] * 10


PATCH = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: mark, namespace: shop}
spec:
  configPatches:
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: "b.test:80"}}}
    patch:
      operation: MERGE
      value: {response_headers_to_add: [{header: {key: x-patched, value: "yes"}}]}
"""


async def test_patches_apply_to_hosts_that_were_found(tmp_path: Path) -> None:
    """By the name that the virtual host has where it is declared (pilot.md K)."""
    async with shop(tmp_path, PATCH) as found:
        reply = await found.meshed.get("b.test")
        assert (reply.status, reply.header("x-patched")) == (200, "yes")
        reply = await found.meshed.get("c.test")
        assert (reply.status, reply.header("x-patched")) == (200, "")


async def test_what_is_unknown_passes_where_it_may(tmp_path: Path) -> None:
    async with shop(tmp_path, mode="ALLOW_ANY") as found:
        assert await found.answer("b.test") == "b"
        port = found.servers["c"].port
        assert await found.answer(f"localhost:{port}") == "c"


async def test_a_new_stream_finds_what_was_found(tmp_path: Path) -> None:
    async with shop(tmp_path) as found:
        assert await found.answer("b.test") == "b"
        assert await found.answer("nobody.test") == "404"
        ads = found.meshed.ads
        before = next(iter(ads.connections.open.values()))
        before.close(ads.connections.facilities.clock.instant())
        await until(lambda: before in ads.closed)
        await until(lambda: ads.connections.open and ads.watch(VHDS) and ads.watch(CDS))
        assert await found.answer("b.test") == "b"
        await found.meshed.apply(leading_to("b", "c"))

        async def moved() -> bool:
            return await found.answer("b.test") == "c"

        await until(moved)
        await found.meshed.apply(service("nobody", found.servers["a"].port))

        async def there() -> bool:
            return await found.answer("nobody.test") == "a"

        await until(there)


@pytest.mark.parametrize("delta", [False], ids=["state-of-the-world"])
async def test_without_the_incremental_protocol_there_is_none_of_it(
    tmp_path: Path, delta: bool
) -> None:
    async with (
        echo_server("a") as a,
        echo_server("b") as b,
        meshed_envoy(
            tmp_path,
            service("a", a.port),
            service("b", b.port),
            sidecar("a"),
            delta=delta,
            MAST_ON_DEMAND="true",
        ) as meshed,
    ):
        assert (await meshed.get("a.test")).status == 200
        assert (await meshed.get("b.test")).status == 502
        assert complaints(meshed.envoy.log.read_text()) == []
