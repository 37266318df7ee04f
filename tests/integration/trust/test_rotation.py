"""Leaves rotate every few seconds, and a root under constant load (A8.5, B3.4, D8, D12).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from cryptography import x509

from mastapi.citadel.v1 import citadel_pb2
from tests.integration.trust.meshes import Mesh, Workload, mesh, workload
from tests.support.ads_server import until
from tests.support.etcd_server import EtcdServer
from tests.support.http_probe import Closed

HOST = "server.a.example"
LEAVES = {"SECRET_TTL": "9s"}


async def load(client: Workload, over: asyncio.Event, outcomes: Counter[str]) -> None:
    """Requests one after the other, each over a connection of its own between the sidecars."""
    while not over.is_set():
        try:
            outcomes[str((await client.get(HOST)).status)] += 1
        except (Closed, TimeoutError) as error:
            outcomes[repr(error)] += 1


async def test_a_root_and_leaves_rotate_under_load(etcd: EtcdServer, directory: Path) -> None:
    """No request fails, and nobody gets a leaf of a root that somebody does not know."""
    async with (
        mesh(etcd.endpoint, directory, "a.example", replicas=2) as made,
        workload(made, "server", **LEAVES) as server,
        workload(made, "client", **LEAVES) as client,
    ):
        await client.reaches(HOST)
        outcomes, over = Counter[str](), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(load(client, over, outcomes))
            try:
                await rotated(made, server, client)
            finally:
                over.set()
        assert set(outcomes) == {"200"}, outcomes
        assert outcomes["200"] > 100
        for each in (server, client):
            assert not each.agent.events("secret.rejected")


async def rotated(made: Mesh, *workloads: Workload) -> None:
    """Leaves come and go before, between and after the steps of a rotation."""
    await renewed(workloads, 1)
    seen = await made.command("PrepareAuthority", citadel_pb2.PrepareAuthorityRequest())
    old, new = (slot.id for slot in seen.slots)
    await made.confirmed()
    published = [len(each.agent.events("secret.published")) for each in workloads]
    await made.command("ActivateAuthority", citadel_pb2.ActivateAuthorityRequest())
    for each, before in zip(workloads, published, strict=True):
        names = [event["name"] for event in each.agent.events("secret.published")]
        assert "ROOTCA" in names[1:before], "Envoy had the new root before anything was signed"
    await renewed(workloads, 1)
    await made.command("TaintAuthority", citadel_pb2.TaintAuthorityRequest(slot=old))
    await until(lambda: only(made, new), seconds=60)
    await renewed(workloads, 1)
    (root,) = (await made.bundle()).roots
    anchor = x509.load_pem_x509_certificate(root.pem.encode())
    (await made.pair("late")).leaf.verify_directly_issued_by(anchor)


async def renewed(workloads: tuple[Workload, ...], times: int) -> None:
    """Wait until every workload has got so many certificates more."""
    counts = [len(each.agent.events("certificate.renewed")) for each in workloads]

    def done() -> bool:
        return all(
            len(each.agent.events("certificate.renewed")) >= count + times
            for each, count in zip(workloads, counts, strict=True)
        )

    await until(done, seconds=60)


async def only(made: Mesh, slot: str) -> bool:
    return [each.id for each in (await made.authorities()).slots] == [slot]
