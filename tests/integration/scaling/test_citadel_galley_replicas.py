"""Two Citadels and two Galleys are replaced one after the other, and killed, under calls (issue 7).

Clients reach them through a Service, as agents and API servers do.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from mast.common.identity.ca_client import CaClient, new_key_and_csr
from mastapi.galley.v1 import config_pb2 as api
from mastapi.galley.v1 import config_pb2_grpc
from tests.integration.citadel.process import Citadel, citadel
from tests.integration.scaling.rolling import DELAY, DRAIN, replace_all
from tests.support.etcd_server import EtcdServer
from tests.support.pki import Pair
from tests.support.ready_service import ReadyService, ready_service
from tests.support.service_process import ServiceProcess, forked_service
from tests.support.steady import steadily
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLER = "spiffe://cluster.local/ns/shop/sa/reviews"
GALLEY = ("istio-system", "istio-galley-service-account")
HOST = "istio-galley.istio-system.svc"
FLAGS = (*DELAY, *DRAIN)
AGENTS = 3


@dataclass
class Citadels:
    """Replicas in one directory, which share the key that seals the CA's."""

    etcd: EtcdServer
    root: str
    directory: Path
    stack: AsyncExitStack
    service: ReadyService
    first: Citadel

    async def start(self) -> ServiceProcess:
        """Another one."""
        return (await started(self.stack, self.etcd, self.root, self.directory)).service

    async def agent(self, pair: Pair | None = None) -> tuple[Pair, CaClient]:
        """A workload's certificate, and how its agent asks for the next one."""
        if pair is None:
            pair, _ = await self.first.new_pair(await self.first.join_token())
        return pair, await self.first.client(pair=pair, address=self.service.endpoint)


NAMES = (f"citadel-{number}" for number in count())


async def started(stack: AsyncExitStack, etcd: EtcdServer, root: str, directory: Path) -> Citadel:
    flags = ("--etcd-root", root, *FLAGS)
    return await stack.enter_async_context(
        citadel(etcd.endpoint, directory, flags, name=next(NAMES))
    )


@asynccontextmanager
async def citadels(
    etcd: EtcdServer, root: str, directory: Path, replicas: int
) -> AsyncIterator[Citadels]:
    async with ready_service("ca") as service, AsyncExitStack() as stack:
        found = [await started(stack, etcd, root, directory) for _ in range(replicas)]
        for each in found:
            await service.add(each.service)
        yield Citadels(etcd, root, directory, stack, service, found[0])


async def test_citadels_are_replaced_under_signing(
    etcd: EtcdServer, root: str, tmp_path: Path
) -> None:
    """Every agent gets every certificate within its own retries, and so after a death."""
    async with citadels(etcd, root, tmp_path, 2) as running:
        agents = [await running.agent() for _ in range(AGENTS)]
        roots = await running.first.roots()
        turns = count()

        async def renew() -> None:
            _, client = agents[next(turns) % AGENTS]
            _, csr = new_key_and_csr(CALLER)
            certificate = await client.sign(csr, timedelta(hours=1))
            assert certificate.roots_pem.encode() == roots, "one CA"

        async with steadily(renew, clients=2, pause=0.1) as calls:
            new = await replace_all([running.service], running.start)
            new[0].process.kill()
            await new[0].ended()
            await calls.more()
        assert calls.failures == []


@dataclass
class Galleys:
    """Replicas that read one directory; the webhooks and the API have a Service each."""

    citadels: Citadels
    webhooks: ReadyService
    api: ReadyService
    files: Path
    numbers: count[int]

    async def start(self) -> ServiceProcess:
        """Another one, which is certified by a token of its own."""
        token = self.files.parent / f"token-{next(self.numbers)}"
        token.write_text(await self.citadels.first.join_token(*GALLEY))
        listeners = ("listen", "webhook-listen", "monitoring-listen")
        return await self.citadels.stack.enter_async_context(
            forked_service(
                "galley",
                *(f"--{each}=127.0.0.1:0" for each in listeners),
                *("--etcd-endpoints", self.citadels.etcd.endpoint),
                *("--etcd-root", self.citadels.root),
                *("--ca-address", self.citadels.service.endpoint, "--ca-token-file", token),
                *("--allowed-writers", CALLER, "--config-dir", self.files),
                *FLAGS,
            )
        )


@asynccontextmanager
async def galleys(etcd: EtcdServer, root: str, directory: Path) -> AsyncIterator[Galleys]:
    files = directory / "files"
    files.mkdir()
    async with (
        ready_service("webhooks") as webhooks,
        ready_service("grpc-mtls") as grpc_api,
        citadels(etcd, root, directory, 1) as authority,
    ):
        running = Galleys(authority, webhooks, grpc_api, files, count())
        for _ in range(2):
            replica = await running.start()
            for each in (webhooks, grpc_api):
                await each.add(replica)
        yield running


def review(path: str) -> dict[str, Any]:
    """What an API server asks: about a rule that is right, or a pod."""
    kind, namespace = ("DestinationRule", "shop") if path == "/validate" else ("Pod", "shop")
    group, version = ("networking.istio.io", "v1") if kind != "Pod" else ("", "v1")
    rule = {"spec": {"host": "web"}}
    pod = {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    content = {
        "apiVersion": f"{group}/{version}".strip("/"),
        "kind": kind,
        "metadata": {"name": "web", "namespace": namespace},
        **(pod if kind == "Pod" else rule),
    }
    request = {
        "uid": "1",
        "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": f"{kind.lower()}s"},
        "namespace": namespace,
        "name": "web",
        "operation": "CREATE",
        "object": content,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@dataclass
class Caller:
    """Asks webhooks on connections that it keeps, as an API server does."""

    galleys: Galleys
    session: aiohttp.ClientSession

    async def ask(self, path: str) -> None:
        """Once; fails unless the answer allows."""
        url = f"https://{self.galleys.webhooks.endpoint}{path}"
        async with self.session.post(url, json=review(path), server_hostname=HOST) as answer:
            assert answer.status == 200, await answer.text()
            told = json.loads(await answer.text())["response"]
            assert told["allowed"], told
            assert ("patch" in told) == (path == "/inject"), told


@dataclass
class Writer:
    """Stores rules through the API, and dials for each one, as `mastctl apply` does."""

    galleys: Galleys
    credentials: grpc.ChannelCredentials
    written: int = 0

    async def write(self) -> None:
        """Store the rule once more, each time another one."""
        spec = {"host": f"web-{self.written}"}
        metadata = {"name": "web", "namespace": "shop"}
        rule = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule"}
        text = json.dumps({**rule, "metadata": metadata, "spec": spec})
        request = api.ApplyRequest(sources=[api.Source(name="a.yaml", text=text)])
        options = [("grpc.ssl_target_name_override", HOST), ("grpc.use_local_subchannel_pool", 1)]
        address = self.galleys.api.endpoint
        async with grpc.aio.secure_channel(address, self.credentials, options) as channel:
            await config_pb2_grpc.ConfigServiceStub(channel).Apply(request, timeout=20)
        self.written += 1


async def writer(galleys: Galleys) -> Writer:
    """Somebody who may write."""
    pair, _ = await galleys.citadels.agent()
    roots = await galleys.citadels.first.roots()
    return Writer(galleys, grpc.ssl_channel_credentials(roots, pair.key, pair.chain))


def leader(replicas: list[ServiceProcess]) -> list[bool]:
    """Who has led the reading of the directory last, by what they have logged."""
    events = [[line["event"] for line in each.log if line.get("what")] for each in replicas]
    return [each.count("leader.elected") > each.count("leader.resigned") for each in events]


async def test_galleys_are_replaced_under_webhooks_and_writes(
    etcd: EtcdServer, root: str, tmp_path: Path
) -> None:
    """No review and no write fails; who leads hands over before it has ended."""
    async with galleys(etcd, root, tmp_path) as running:
        roots = (await running.citadels.first.roots()).decode()
        tls = ssl.create_default_context(cadata=roots)
        old, author = list(running.webhooks.replicas), await writer(running)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
            caller = Caller(running, session)
            await until(lambda: any(leader(old)))
            async with (
                steadily(lambda: caller.ask("/validate")) as validations,
                steadily(lambda: caller.ask("/inject")) as injections,
                steadily(author.write, pause=0.1) as writes,
            ):
                new = await replace_all([running.webhooks, running.api], running.start)
            assert validations.failures == injections.failures == writes.failures == []
            await until(lambda: leader(old) == [False, False])
            await until(lambda: any(leader(new)))

            new[0].process.kill()
            await new[0].ended()
            for path in ("/validate", "/inject"):
                await answered(caller, path)


async def answered(caller: Caller, path: str) -> None:
    """After a death an API server asks again, on another connection."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await caller.ask(path)
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
