"""The TLS port: Galley's certificate from a real Citadel, callers by their SPIFFE IDs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from istio.mcp.v1alpha1 import mcp_pb2, mcp_pb2_grpc
from mastapi.galley.v1 import config_pb2 as api
from mastapi.galley.v1 import config_pb2_grpc, history_pb2, history_pb2_grpc
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import EtcdServer, free_port
from tests.support.galley_server import SECONDS, RunningGalley, galley_server
from tests.support.pki import Pair

SERVER_NAME = "istio-galley.istio-system.svc"
RULE = (
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
    "metadata: {name: a}\nspec: {host: a.com}\n"
)
RULES = "istio/networking/v1alpha3/destinationrules"
LARGE = f"annotations: {{note: '{'x' * 250_000}'}}"


@asynccontextmanager
async def secured(
    tmp_path: Path, etcd: EtcdServer, **settings: Any
) -> AsyncIterator[tuple[RunningGalley, Citadel]]:
    async with citadel(etcd.endpoint, tmp_path) as ca:
        root, token = tmp_path / "root.pem", tmp_path / "token"
        root.write_bytes(await ca.roots())
        token.write_text(await ca.join_token("istio-system", "istio-galley-service-account"))
        settings.setdefault("listen", f"127.0.0.1:{free_port()}")
        async with galley_server(
            tmp_path,
            etcd.endpoint,
            ca_address=await ca.service.address("ca"),
            ca_root_file=root,
            ca_token_file=token,
            allowed_writers=("spiffe://cluster.local/ns/ops/sa/deployer",),
            **settings,
        ) as galley:
            yield galley, ca


@asynccontextmanager
async def caller(
    galley: RunningGalley, roots: bytes, pair: Pair | None
) -> AsyncIterator[grpc.aio.Channel]:
    credentials = grpc.ssl_channel_credentials(roots, pair and pair.key, pair and pair.chain)
    options = [("grpc.ssl_target_name_override", SERVER_NAME)]
    async with grpc.aio.secure_channel(galley.config.listen, credentials, options) as channel:
        yield channel


async def attempts(channel: grpc.aio.Channel) -> dict[str, grpc.StatusCode]:
    """How each call ends; those of which nothing good can come, only if they are allowed."""
    stub = config_pb2_grpc.ConfigServiceStub(channel)
    history = history_pb2_grpc.HistoryServiceStub(channel)
    to_come = history_pb2.RollbackRequest(revision=1 << 40)
    source = api.Source(name="x", text=RULE)
    calls = {
        "apply": lambda: stub.Apply(api.ApplyRequest(sources=[source]), timeout=10),
        "dry run": lambda: stub.Apply(api.ApplyRequest(sources=[source], dry_run=True), timeout=10),
        "list": lambda: stub.List(api.ListRequest(), timeout=10),
        "validate": lambda: stub.Validate(api.ValidateRequest(sources=[source]), timeout=10),
        "delete": lambda: stub.Delete(
            api.DeleteRequest(sources=[source], ignore_missing=True), timeout=10
        ),
        "history": lambda: history.History(history_pb2.HistoryRequest(), timeout=10),
        "rollback": lambda: history.Rollback(to_come, timeout=10),
        "mcp": lambda: _nothing_known(mcp_pb2_grpc.ResourceSourceStub(channel)),
    }
    ended = {}
    for name, call in calls.items():
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            ended[name] = error.code()
        else:
            ended[name] = grpc.StatusCode.OK
    return ended


async def _nothing_known(stub: mcp_pb2_grpc.ResourceSourceStub) -> None:
    """Ask for a collection that does not exist."""
    requests = [mcp_pb2.RequestResources(collection="nothing")]
    async for _ in stub.EstablishResourceStream(iter(requests), timeout=10):
        raise AssertionError


async def test_callers_may_do_what_their_identity_allows(tmp_path: Path, etcd: EtcdServer) -> None:
    async with secured(tmp_path, etcd) as (galley, ca):
        await galley.page_with("/ready", '"ready": true')
        roots = await ca.roots()

        async def of(namespace: str, account: str) -> dict[str, grpc.StatusCode]:
            pair, _ = await ca.new_pair(await ca.join_token(namespace, account))
            async with caller(galley, roots, pair) as channel:
                return await attempts(channel)

        everything = dict.fromkeys(
            ("apply", "dry run", "list", "validate", "delete", "history"), grpc.StatusCode.OK
        ) | dict.fromkeys(("rollback", "mcp"), grpc.StatusCode.INVALID_ARGUMENT)
        refused = grpc.StatusCode.PERMISSION_DENIED
        assert await of("ops", "deployer") == everything
        async with grpc.aio.insecure_channel(f"unix:{galley.config.admin_socket}") as admin:
            past = history_pb2_grpc.HistoryServiceStub(admin)
            changes = (await past.History(history_pb2.HistoryRequest())).changes
        assert {each.author for each in changes} == {"spiffe://cluster.local/ns/ops/sa/deployer"}
        assert await of("istio-system", "istio-pilot-service-account") == {
            **everything,
            "apply": refused,
            "delete": refused,
            "rollback": refused,
        }
        assert await of("shop", "reviews") == dict.fromkeys(everything, refused)
        async with caller(galley, roots, None) as channel:
            assert set((await attempts(channel)).values()) == {grpc.StatusCode.UNAVAILABLE}


class Listening(mcp_pb2_grpc.ResourceSinkServicer):
    """A sink that wants rules and notes who calls with what."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[set[str], mcp_pb2.Resources]] = asyncio.Queue()

    async def EstablishResourceStream(
        self, request_iterator: AsyncIterator[mcp_pb2.Resources], context: Any
    ) -> AsyncIterator[mcp_pb2.RequestResources]:
        yield mcp_pb2.RequestResources(collection=RULES)
        async for resources in request_iterator:
            names = context.auth_context()["x509_subject_alternative_name"]
            await self.calls.put(({name.decode() for name in names}, resources))
            yield mcp_pb2.RequestResources(collection=RULES, response_nonce=resources.nonce)


async def test_sinks_are_called_by_mutual_tls_with_states_of_any_size(
    tmp_path: Path, etcd: EtcdServer
) -> None:
    port = free_port()
    options = [("grpc.max_receive_message_length", 16 << 20)]
    async with secured(tmp_path, etcd, sink_address=(f"localhost:{port}",)) as (galley, ca):
        token = await ca.join_token("istio-system", "istio-pilot-service-account")
        pair, _ = await ca.new_pair(token)
        sink, server = Listening(), grpc.aio.server(options=options)
        mcp_pb2_grpc.add_ResourceSinkServicer_to_server(sink, server)
        credentials = grpc.ssl_server_credentials(
            [(pair.key, pair.chain)], await ca.roots(), require_client_auth=True
        )
        server.add_secure_port(f"localhost:{port}", credentials)
        await server.start()
        try:
            async with asyncio.timeout(SECONDS):
                names, resources = await sink.calls.get()
                assert "spiffe://cluster.local/ns/istio-system/sa/istio-galley-service-account" in (
                    names
                )
                for batch in range(5):
                    rules = (RULE.replace("a}", f"a{batch}{each}, {LARGE}}}") for each in "abcd")
                    await galley.apply("---\n".join(rules))
                while len(resources.resources) < 20:
                    _, resources = await sink.calls.get()
        finally:
            await server.stop(0)
    assert resources.ByteSize() > 4 << 20, "more than gRPC takes unless it is told"


async def test_another_galley_is_a_source(tmp_path: Path, etcd: EtcdServer) -> None:
    """A directory comes first, what it gives up is the other control plane's; all by mutual TLS."""
    config, mine = tmp_path / "config", tmp_path / "mine"
    for each in (config, mine):
        each.mkdir()
    (config / "b.yaml").write_text(RULE.replace("name: a", "name: b").replace("a.com", "files.com"))
    port = free_port()
    async with secured(tmp_path, etcd, listen=f"127.0.0.1:{port}") as (other, ca):
        await other.apply(RULE + "---\n" + RULE.replace("name: a", "name: b"))
        (tmp_path / "again").write_text(
            await ca.join_token("istio-system", "istio-galley-service-account")
        )
        async with galley_server(
            mine,
            etcd.endpoint,
            etcd_root="/mine",
            ca_address=other.config.ca_address,
            ca_root_file=tmp_path / "root.pem",
            ca_token_file=tmp_path / "again",
            listen=f"127.0.0.1:{free_port()}",
            config_sources=(f"fs://{config}", f"xds://localhost:{port}"),
        ) as galley:
            await galley.has({"default/a": "a.com", "default/b": "files.com"})
            await galley.page_with("/ready", '"sources": "in sync"')
            found = await galley.listed()
            owners = {n: o.metadata.annotations["mast.io/source"] for n, o in found.items()}
            assert owners["default/a"] == f"xds:localhost:{port}"
            assert owners["default/b"].startswith("fs:")
            (config / "b.yaml").unlink()
            await galley.has({"default/a": "a.com", "default/b": "a.com"})
            ref = api.ObjectRef(kind="DestinationRule", namespace="default", name="a")
            await other.stub.Delete(api.DeleteRequest(objects=[ref]))
            await galley.has({"default/b": "a.com"})


async def test_galley_without_citadel_serves_its_socket_only(
    tmp_path: Path, etcd: EtcdServer
) -> None:
    async with galley_server(
        tmp_path, etcd.endpoint, listen=f"127.0.0.1:{free_port()}", ca_address="127.0.0.1:1"
    ) as galley:
        assert (await galley.apply(RULE)).revision > 0
        status, detail = await galley.page("/ready")
        assert status == 503
        assert '"certificate": "none yet"' in detail
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(*galley.config.listen.split(":"))
