"""The laptop's network for real: namespaces that reach each other, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mast.cli.local import addresses, network

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"
    ),
]
NAMES = network.Names(f"{os.getpid() & 0xFFFF:04x}")


@pytest.fixture
async def subnet() -> AsyncIterator[str]:
    subnet = await network.create_bridge(NAMES)
    try:
        yield subnet
    finally:
        await network.remove_all(NAMES)


async def workload(subnet: str, number: int) -> str:
    name, address = f"w-v1-{number}", addresses.in_subnet(subnet, number)
    await network.create_namespace(NAMES, name, number, address, addresses.gateway(subnet))
    return NAMES.namespace(name)


async def left() -> list[str]:
    prefixes = (*NAMES.prefixes, NAMES.bridge)
    names = [*await network.namespaces(), *await network.links()]
    names += [p.name for p in Path("/etc/netns").glob("*")]
    return [name for name in names if name.startswith(prefixes)]


async def test_workloads_reach_each_other_and_the_host(subnet: str) -> None:
    first, second = await workload(subnet, 1), await workload(subnet, 2)
    listen = (
        "import socket; s = socket.create_server(('', 7)); print('up', flush=True); "
        "c, _ = s.accept(); c.sendall(b'hello')"
    )
    dial = (
        "import socket; "
        f"print(socket.create_connection(('{addresses.in_subnet(subnet, 1)}', 7), 5).recv(5))"
    )
    server = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", first, "python3", "-c", listen, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    async with asyncio.timeout(20):
        assert await server.stdout.readline() == b"up\n"
        client = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", second, "python3", "-c", dial, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await client.communicate()
        await server.wait()
    assert out == b"b'hello'\n"


async def test_resolver_settings_are_those_of_a_pod(subnet: str) -> None:
    namespace = await workload(subnet, 1)
    network.write_resolver(namespace, addresses.gateway(subnet), "shop", "cluster.local")
    out = await network.ip("netns", "exec", namespace, "cat", "/etc/resolv.conf")
    assert "search shop.svc.cluster.local svc.cluster.local cluster.local" in out
    assert f"nameserver {addresses.gateway(subnet)}" in out


async def test_one_workload_is_removed_alone(subnet: str) -> None:
    first, second = await workload(subnet, 1), await workload(subnet, 2)
    network.write_resolver(first, addresses.gateway(subnet), "shop", "cluster.local")
    await network.remove_namespace(first, NAMES.link(1))
    assert first not in await left()
    assert NAMES.link(1) not in await left()
    assert second in await left()


async def test_removal_needs_no_records_and_is_idempotent(subnet: str) -> None:
    await workload(subnet, 1)
    network.write_resolver(NAMES.namespace("w-v1-9"), "10.0.0.1", "shop", "cluster.local")
    await network.remove_all(NAMES)
    assert await left() == []
    await network.remove_all(NAMES)


async def test_a_second_mesh_takes_another_subnet(subnet: str) -> None:
    other = network.Names(f"{(os.getpid() + 1) & 0xFFFF:04x}")
    try:
        assert await network.create_bridge(other) != subnet
    finally:
        await network.remove_all(other)
