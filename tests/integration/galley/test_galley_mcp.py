"""Configuration for other consumers: MCP and MCP over xDS, over real gRPC from a real etcd (A4)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.rpc.status_pb2 import Status

from istio.mcp.v1alpha1 import mcp_pb2, mcp_pb2_grpc, resource_pb2
from istio.mesh.v1alpha1 import config_pb2 as mesh_pb2
from istio.networking.v1alpha3 import destination_rule_pb2
from istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from mast.common import keys
from mast.common.etcd import EtcdConfig, connect
from mast.galley.core.mcp.catalog import SYNTHETIC
from mastapi.galley.v1 import config_pb2 as api
from mastapi.registry.v1 import registry_pb2
from tests.support.etcd_server import EtcdServer
from tests.support.galley_server import SECONDS, RunningGalley, galley_server

RULES = "istio/networking/v1alpha3/destinationrules"
GATEWAYS = "istio/networking/v1alpha3/gateways"
MESH = (
    "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\n"
    "spec: {ingressClass: inner}\n"
)


def rule(name: str = "a", host: str = "a.com") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}, namespace: shop}}\nspec: {{host: {host}}}\n"
    )


@pytest.fixture
async def channel(galley: RunningGalley) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{galley.config.admin_socket}") as opened:
        yield opened


class Sink:
    """A consumer that speaks MCP."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        stub = mcp_pb2_grpc.ResourceSourceStub(channel)
        self.call: Any = stub.EstablishResourceStream(timeout=3 * SECONDS)

    async def ask(self, collection: str, **fields: Any) -> None:
        node = mcp_pb2.SinkNode(id="test")
        await self.call.write(
            mcp_pb2.RequestResources(sink_node=node, collection=collection, **fields)
        )

    async def answer(self, to: mcp_pb2.Resources, error: str = "") -> None:
        status = Status(code=3, message=error) if error else None
        await self.ask(to.collection, response_nonce=to.nonce, error_detail=status)

    async def read(self) -> mcp_pb2.Resources:
        async with asyncio.timeout(SECONDS):
            found = await self.call.read()
        assert isinstance(found, mcp_pb2.Resources), await self.call.details()
        return found

    async def with_host(self, host: str) -> mcp_pb2.Resources:
        """The first response that has a rule of this host; those before are acknowledged."""
        while host not in hosts(found := await self.read()).values():
            await self.answer(found)
        return found


def hosts(message: mcp_pb2.Resources) -> dict[str, str]:
    found = {}
    for each in message.resources:
        spec = destination_rule_pb2.DestinationRule()
        assert each.body.Unpack(spec)
        found[each.metadata.name] = spec.host
    return found


async def told(channel: grpc.aio.Channel, host: str) -> None:
    """Return when Galley tells sinks a rule of this host: who asks from now on gets it at once."""
    witness = Sink(channel)
    await witness.ask(RULES)
    await witness.with_host(host)
    witness.call.cancel()


async def test_a_sink_gets_collections_and_their_changes(
    galley: RunningGalley, channel: grpc.aio.Channel
) -> None:
    revision = (await galley.apply(rule("a") + "---\n" + rule("b", "b.com"))).revision
    await told(channel, "b.com")
    sink = Sink(channel)
    await sink.ask(RULES)
    await sink.ask(GATEWAYS)
    metadata = dict(await sink.call.initial_metadata())
    assert metadata["config.source.version"]
    first = {found.collection: found for found in (await sink.read(), await sink.read())}
    assert list(first[GATEWAYS].resources) == []
    rules = first[RULES]
    assert hosts(rules) == {"shop/a": "a.com", "shop/b": "b.com"}
    assert {each.metadata.version for each in rules.resources} == {str(revision)}
    assert {first[RULES].nonce, first[GATEWAYS].nonce} == {"1", "2"}
    assert not rules.incremental
    await sink.answer(rules)
    await galley.apply(rule("a", "c.com"))
    assert hosts(await sink.with_host("c.com")) == {"shop/a": "c.com", "shop/b": "b.com"}
    sink.call.cancel()


async def test_increments_and_return(galley: RunningGalley, channel: grpc.aio.Channel) -> None:
    await galley.apply(rule("a") + "---\n" + rule("b", "b.com"))
    await told(channel, "b.com")
    sink = Sink(channel)
    await sink.ask(RULES, incremental=True)
    first = await sink.read()
    assert first.incremental
    assert set(hosts(first)) == {"shop/a", "shop/b"}
    await sink.answer(first)
    ref = api.ObjectRef(kind="DestinationRule", namespace="shop", name="b")
    await galley.stub.Delete(api.DeleteRequest(objects=[ref]))
    second = await sink.read()
    assert (hosts(second), list(second.removed_resources)) == ({}, ["shop/b"])
    sink.call.cancel()

    back = Sink(channel)
    versions = {each.metadata.name: each.metadata.version for each in first.resources}
    await back.ask(RULES, incremental=True, initial_resource_versions=versions)
    missed = await back.read()
    assert (hosts(missed), list(missed.removed_resources)) == ({}, ["shop/b"])
    back.call.cancel()


async def test_rejected_stale_and_slow(galley: RunningGalley, channel: grpc.aio.Channel) -> None:
    """What was rejected comes with the next change; who is slow gets only the newest state."""
    await galley.apply(rule("a"))
    sink, witness = Sink(channel), Sink(channel)
    await witness.ask(RULES)
    await witness.answer(await witness.with_host("a.com"))
    await sink.ask(RULES, incremental=True)
    bad = await sink.read()
    await sink.answer(bad, error="does not fit")
    await galley.apply(rule("b", "b.com"))
    await witness.answer(await witness.with_host("b.com"))
    again = await sink.read()
    assert set(hosts(again)) == {"shop/a", "shop/b"}, "what was rejected is in it"

    # The sink owes an answer now; the witness tells when each change could have been sent.
    for host in ("c.com", "d.com"):
        await galley.apply(rule("c", host))
        await witness.answer(await witness.with_host(host))
    await sink.ask(RULES, response_nonce=bad.nonce)  # stale: nothing comes of it
    await sink.answer(again)
    newest = await sink.read()
    assert hosts(newest) == {"shop/c": "d.com"}
    for each in (sink, witness):
        each.call.cancel()


class Waiting(mcp_pb2_grpc.ResourceSinkServicer):
    """A consumer that is called: it asks for rules, tells what it gets, and hangs up."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.metadata: dict[str, str] = {}

    async def EstablishResourceStream(
        self, request_iterator: AsyncIterator[mcp_pb2.Resources], context: Any
    ) -> AsyncIterator[mcp_pb2.RequestResources]:
        self.metadata = dict(context.invocation_metadata())
        yield mcp_pb2.RequestResources(collection=RULES, incremental=True)
        async for resources in request_iterator:
            yield mcp_pb2.RequestResources(collection=RULES, response_nonce=resources.nonce)
            await self.got.put(hosts(resources))
            if "hangup.com" in hosts(resources).values():
                return


async def test_galley_calls_a_sink_and_calls_again(tmp_path: Path, shared_etcd: EtcdServer) -> None:
    sink, server = Waiting(), grpc.aio.server()
    mcp_pb2_grpc.add_ResourceSinkServicer_to_server(sink, server)
    port = server.add_insecure_port("127.0.0.1:0")
    settings: dict[str, Any] = {
        "etcd_root": f"/{secrets.token_hex(8)}",
        "sink_address": (f"127.0.0.1:{port}",),
        "sink_meta": ("Mesh=east",),
    }
    await server.start()
    try:
        async with (
            galley_server(tmp_path, shared_etcd.endpoint, **settings) as galley,
            asyncio.timeout(3 * SECONDS),
        ):
            await galley.apply(rule("a"))
            found: dict[str, str] = {}
            while "shop/a" not in found:
                found = await sink.got.get()
            await galley.apply(rule("b", "hangup.com"))
            assert await sink.got.get() == {"shop/b": "hangup.com"}, "what changed"
            assert await sink.got.get() == {"shop/a": "a.com", "shop/b": "hangup.com"}
            assert sink.metadata["config.source.version"]
            assert sink.metadata["mesh"] == "east"
    finally:
        await server.stop(0)


async def test_services_of_the_registry_are_told_if_that_is_wanted(
    tmp_path: Path, shared_etcd: EtcdServer
) -> None:
    root, host = f"/{secrets.token_hex(8)}", "web.shop.svc.cluster.local"
    service = registry_pb2.Service(host=host, namespace="shop", name="web", addresses=["10.1.0.1"])
    shard = registry_pb2.EndpointShard(host=host, endpoints=[{"address": "10.0.0.1"}])

    async def entries(sink: Sink) -> dict[str, ServiceEntry]:
        found = await sink.read()
        await sink.answer(found)
        return {
            each.metadata.name: ServiceEntry.FromString(each.body.value) for each in found.resources
        }

    async with (
        connect(EtcdConfig(endpoints=(shared_etcd.endpoint,), root=root)) as store,
        galley_server(
            tmp_path, shared_etcd.endpoint, etcd_root=root, mcp_service_entries=True
        ) as galley,
        grpc.aio.insecure_channel(f"unix:{galley.config.admin_socket}") as channel,
    ):
        await store.put(keys.service_key("shop", host), service.SerializeToString())
        sink = Sink(channel)
        await sink.ask(SYNTHETIC)
        found = await entries(sink)
        while "shop/web" not in found:
            found = await entries(sink)
        assert found["shop/web"].resolution == ServiceEntry.NONE
        await store.put(keys.endpoints_key("shop", host, "one"), shard.SerializeToString())
        while found["shop/web"].resolution != ServiceEntry.STATIC:
            found = await entries(sink)
        assert [each.address for each in found["shop/web"].endpoints] == ["10.0.0.1"]
        sink.call.cancel()


async def test_an_unknown_collection_ends_the_stream(
    galley: RunningGalley, channel: grpc.aio.Channel
) -> None:
    for collection in ("istio/nothing", "k8s/core/v1/secrets"):
        sink = Sink(channel)
        await sink.ask(collection)
        async with asyncio.timeout(SECONDS):
            assert await sink.call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert collection in await sink.call.details()


def type_requests(*types: str, generator: str = "api") -> list[DiscoveryRequest]:
    requests = [DiscoveryRequest(type_url=each) for each in types]
    requests[0].node.metadata["GENERATOR"] = generator
    return requests


async def test_mcp_over_xds(galley: RunningGalley, channel: grpc.aio.Channel) -> None:
    await galley.apply(rule("a") + "---\n" + MESH)
    await told(channel, "a.com")
    call: Any = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources(
        timeout=3 * SECONDS
    )

    async def read() -> DiscoveryResponse:
        async with asyncio.timeout(SECONDS):
            found = await call.read()
        assert isinstance(found, DiscoveryResponse), await call.details()
        return found

    def rules(response: DiscoveryResponse) -> dict[str, str]:
        found = {}
        for each in response.resources:
            resource = resource_pb2.Resource()
            assert each.Unpack(resource)
            spec = destination_rule_pb2.DestinationRule()
            assert resource.body.Unpack(spec)
            found[resource.metadata.name] = spec.host
        return found

    types = (
        "networking.istio.io/v1alpha3/DestinationRule",
        "networking.istio.io/v1/DestinationRule",
        "core/v1alpha1/MeshConfig",
        "core/v1/Secret",
        "example.com/v1/Unknown",
    )
    for request in type_requests(*types):
        await call.write(request)
    answers = {found.type_url: found for found in [await read() for _ in types]}
    assert set(answers) == set(types), "synchronised when every type is answered"
    assert rules(answers[types[0]]) == rules(answers[types[1]]) == {"shop/a": "a.com"}
    settings = mesh_pb2.MeshConfig()
    assert answers[types[2]].resources[0].Unpack(settings)
    assert settings.ingress_class == "inner"
    assert [len(answers[each].resources) for each in types[3:]] == [0, 0]

    first = answers[types[0]]
    ack = DiscoveryRequest(
        type_url=types[0], version_info=first.version_info, response_nonce=first.nonce
    )
    await call.write(ack)
    ref = api.ObjectRef(kind="DestinationRule", namespace="shop", name="a")
    await galley.stub.Delete(api.DeleteRequest(objects=[ref]))
    gone = await read()
    assert (gone.type_url, rules(gone)) == (types[0], {}), "the other ones owe an answer"
    call.cancel()


async def test_mcp_over_delta_xds(galley: RunningGalley, channel: grpc.aio.Channel) -> None:
    await galley.apply(rule("a") + "---\n" + rule("b", "b.com"))
    await told(channel, "b.com")
    kind = "networking.istio.io/v1/DestinationRule"
    stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)

    async def opened(**fields: Any) -> tuple[Any, DeltaDiscoveryResponse]:
        call: Any = stub.DeltaAggregatedResources(timeout=3 * SECONDS)
        request = DeltaDiscoveryRequest(type_url=kind, **fields)
        request.node.metadata["GENERATOR"] = "api"
        await call.write(request)
        return call, await read(call)

    async def read(call: Any) -> DeltaDiscoveryResponse:
        async with asyncio.timeout(SECONDS):
            found = await call.read()
        assert isinstance(found, DeltaDiscoveryResponse), await call.details()
        return found

    call, first = await opened(resource_names_subscribe=["*"])
    resource = resource_pb2.Resource()
    assert first.resources[0].resource.Unpack(resource)
    assert resource.metadata.name == "shop/a"
    versions = {each.name: each.version for each in first.resources}
    assert set(versions) == {"shop/a", "shop/b"}
    await call.write(DeltaDiscoveryRequest(type_url=kind, response_nonce=first.nonce))
    ref = api.ObjectRef(kind="DestinationRule", namespace="shop", name="b")
    await galley.stub.Delete(api.DeleteRequest(objects=[ref]))
    gone = await read(call)
    assert (list(gone.resources), list(gone.removed_resources)) == ([], ["shop/b"])
    call.cancel()
    call, missed = await opened(initial_resource_versions=versions)
    assert (list(missed.resources), list(missed.removed_resources)) == ([], ["shop/b"])
    await call.write(DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=["shop/a"]))
    async with asyncio.timeout(SECONDS):
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'shop/a'" in await call.details()


async def test_proxies_are_sent_to_pilot(galley: RunningGalley, channel: grpc.aio.Channel) -> None:
    call: Any = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
    (request,) = type_requests("type.googleapis.com/envoy.config.cluster.v3.Cluster", generator="")
    await call.write(request)
    async with asyncio.timeout(SECONDS):
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "GENERATOR" in await call.details()
