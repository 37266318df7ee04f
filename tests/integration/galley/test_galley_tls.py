"""The TLS port: Galley's certificate from a real Citadel, callers by their SPIFFE IDs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from mastapi.galley.v1 import config_pb2 as api
from mastapi.galley.v1 import config_pb2_grpc
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import EtcdServer, free_port
from tests.support.galley_server import RunningGalley, galley_server
from tests.support.pki import Pair

SERVER_NAME = "istio-galley.istio-system.svc"
RULE = (
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
    "metadata: {name: a}\nspec: {host: a.com}\n"
)


@asynccontextmanager
async def secured(tmp_path: Path, etcd: EtcdServer) -> AsyncIterator[tuple[RunningGalley, Citadel]]:
    async with citadel(etcd.endpoint, tmp_path) as ca:
        root, token = tmp_path / "root.pem", tmp_path / "token"
        root.write_bytes(await ca.roots())
        token.write_text(await ca.join_token("istio-system", "istio-galley-service-account"))
        async with galley_server(
            tmp_path,
            etcd.endpoint,
            listen=f"127.0.0.1:{free_port()}",
            ca_address=await ca.service.address("ca"),
            ca_root_file=root,
            ca_token_file=token,
            allowed_writers=("spiffe://cluster.local/ns/ops/sa/deployer",),
        ) as galley:
            yield galley, ca


@asynccontextmanager
async def caller(
    galley: RunningGalley, roots: bytes, pair: Pair | None
) -> AsyncIterator[config_pb2_grpc.ConfigServiceStub]:
    credentials = grpc.ssl_channel_credentials(roots, pair and pair.key, pair and pair.chain)
    options = [("grpc.ssl_target_name_override", SERVER_NAME)]
    async with grpc.aio.secure_channel(galley.config.listen, credentials, options) as channel:
        yield config_pb2_grpc.ConfigServiceStub(channel)


async def attempts(stub: config_pb2_grpc.ConfigServiceStub) -> dict[str, grpc.StatusCode]:
    """How each call ends."""
    source = api.Source(name="x", text=RULE)
    calls = {
        "apply": lambda: stub.Apply(api.ApplyRequest(sources=[source]), timeout=10),
        "dry run": lambda: stub.Apply(api.ApplyRequest(sources=[source], dry_run=True), timeout=10),
        "list": lambda: stub.List(api.ListRequest(), timeout=10),
        "validate": lambda: stub.Validate(api.ValidateRequest(sources=[source]), timeout=10),
        "delete": lambda: stub.Delete(
            api.DeleteRequest(sources=[source], ignore_missing=True), timeout=10
        ),
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


async def test_callers_may_do_what_their_identity_allows(tmp_path: Path, etcd: EtcdServer) -> None:
    async with secured(tmp_path, etcd) as (galley, ca):
        await galley.page_with("/ready", '"ready": true')
        roots = await ca.roots()

        async def of(namespace: str, account: str) -> dict[str, grpc.StatusCode]:
            pair, _ = await ca.new_pair(await ca.join_token(namespace, account))
            async with caller(galley, roots, pair) as stub:
                return await attempts(stub)

        everything = dict.fromkeys(
            ("apply", "dry run", "list", "validate", "delete"), grpc.StatusCode.OK
        )
        refused = grpc.StatusCode.PERMISSION_DENIED
        assert await of("ops", "deployer") == everything
        assert await of("istio-system", "istio-pilot-service-account") == {
            **everything,
            "apply": refused,
            "delete": refused,
        }
        assert await of("shop", "reviews") == dict.fromkeys(everything, refused)
        async with caller(galley, roots, None) as stub:
            assert set((await attempts(stub)).values()) == {grpc.StatusCode.UNAVAILABLE}


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
