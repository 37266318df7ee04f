"""Connections to adapters: TLS with tokens, OAuth, mutual TLS (mixer.md G12; checklist 41)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web

from istio.policy.v1beta1 import cfg_pb2
from mast.mixer.core.adapter import (
    AdapterError,
)
from mast.mixer.core.dynamic import DynamicAdapter
from tests.support.pki import Ca, Pair
from tests.support.remote_adapter import (
    Answer,
    serving,
)
from tests.support.remote_handlers import (
    CHECK,
    MODEL,
    WITH_OUTPUT,
    adapter,
    handler,
    instance,
)


class Files:
    """Certificates and keys of both ends, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.ca = Ca.root()
        self._directory = directory
        self.authorities = self.write("ca.pem", self.ca.pem)

    def write(self, name: str, content: bytes) -> str:
        path = self._directory / name
        path.write_bytes(content)
        return str(path)

    def server(self, pair: Pair, *, mutual: bool = False) -> grpc.ServerCredentials:
        roots = self.ca.pem if mutual else None
        return grpc.ssl_server_credentials(
            [(pair.key, pair.chain)], roots, require_client_auth=mutual
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def echo(header: str) -> tuple[DynamicAdapter, Answer]:
    """An adapter that answers with a header of the call."""
    described = adapter(WITH_OUTPUT, "")
    (service,) = described.services.values()

    def answer(_: Any, metadata: Mapping[str, str]) -> Any:
        found: Any = service.response()
        found.output.greeting = metadata.get(header, "")
        return found

    return described, answer


@asynccontextmanager
async def token_endpoint(seconds: int) -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """Gives tokens t1, t2 and so on; what it was asked."""
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append({name: str(value) for name, value in (await request.post()).items()})
        return web.json_response({"access_token": f"t{len(asked)}", "expires_in": seconds})

    application = web.Application()
    application.router.add_post("/token", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/token", asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("shown", "header", "value"),
    [
        ({"auth_header": cfg_pb2.Tls.PLAIN}, "authorization", "secret"),
        ({"auth_header": cfg_pb2.Tls.BEARER}, "authorization", "Bearer secret"),
        ({"custom_header": "X-Token"}, "x-token", "secret"),
    ],
)
async def test_tls_with_a_token_of_a_file(
    files: Files, shown: dict[str, Any], header: str, value: str
) -> None:
    described, answer = echo(header)
    (service,) = described.services.values()
    credentials = files.server(files.ca.leaf(dns=["adapter.example"]))
    path = files.write("token", b"secret\n")
    async with serving({service: answer}, credentials) as address:
        tls = cfg_pb2.Tls(
            ca_certificates=files.authorities,
            token_path=path,
            server_name="adapter.example",
            **shown,
        )
        connection = cfg_pb2.Connection(address=address)
        connection.authentication.tls.CopyFrom(tls)
        async with handler(described, connection) as built:
            assert (await built.check(instance())).output["greeting"] == value
            files.write("token", b"other")
            renewed = value.replace("secret", "other")
            assert (await built.check(instance())).output["greeting"] == renewed


@pytest.mark.parametrize(("seconds", "tokens"), [(3600, ["t1", "t1"]), (5, ["t1", "t2"])])
async def test_oauth(files: Files, seconds: int, tokens: list[str]) -> None:
    described, answer = echo("authorization")
    (service,) = described.services.values()
    credentials = files.server(files.ca.leaf(dns=["adapter.example"]))
    async with (
        token_endpoint(seconds) as (url, asked),
        serving({service: answer}, credentials) as address,
    ):
        connection = cfg_pb2.Connection(address=address)
        tls = connection.authentication.tls
        tls.ca_certificates, tls.server_name = files.authorities, "adapter.example"
        tls.auth_header = cfg_pb2.Tls.BEARER
        tls.oauth.client_id = "me"
        tls.oauth.client_secret = files.write("client-secret", b"hush\n")
        tls.oauth.token_url = url
        tls.oauth.scopes.extend(["a", "b"])
        tls.oauth.endpoint_params["audience"] = "mesh"
        async with handler(described, connection) as built:
            for expected in tokens:
                found = (await built.check(instance())).output["greeting"]
                assert found == f"Bearer {expected}"
    assert len(asked) == len(set(tokens))
    assert asked[0] == {
        "grant_type": "client_credentials",
        "client_id": "me",
        "client_secret": "hush",
        "scope": "a b",
        "audience": "mesh",
    }


ME = "spiffe://cluster.local/ns/istio-system/sa/mixer"


@pytest.mark.parametrize(
    ("server", "verify", "fine"),
    [
        ({"uris": [ME], "dns": ["adapter.example"]}, True, True),
        ({"uris": ["spiffe://cluster.local/ns/x/sa/y"], "dns": ["adapter.example"]}, True, False),
        ({"dns": ["adapter.example"]}, True, False),
        ({"dns": ["adapter.example"]}, False, True),
        ({"uris": [ME], "dns": ["other.example"]}, True, False),
    ],
)
async def test_mutual_tls(files: Files, server: dict[str, Any], verify: bool, fine: bool) -> None:
    described, answer = echo("nothing")
    (service,) = described.services.values()
    own = files.ca.leaf(uris=[ME])
    async with serving({service: answer}, files.server(files.ca.leaf(**server), mutual=True)) as at:
        connection = cfg_pb2.Connection(address=at)
        mutual = connection.authentication.mutual
        mutual.private_key = files.write("key.pem", own.key)
        mutual.client_certificate = files.write("cert.pem", own.chain)
        mutual.ca_certificates = files.authorities
        mutual.server_name = "adapter.example"
        async with handler(described, connection, verify_identity=verify) as built:
            if fine:
                assert (await built.check(instance())).status.code == 0
            else:
                with pytest.raises(AdapterError, match="UNAVAILABLE"):
                    await built.check(instance())


async def test_a_server_of_another_authority_is_refused(files: Files) -> None:
    described, answer = echo("nothing")
    (service,) = described.services.values()
    stranger = Ca.root("another").leaf(dns=["adapter.example"])
    async with serving({service: answer}, files.server(stranger)) as address:
        connection = cfg_pb2.Connection(address=address)
        tls = connection.authentication.tls
        tls.ca_certificates, tls.server_name = files.authorities, "adapter.example"
        tls.token_path = files.write("token", b"x")
        async with handler(described, connection) as built:
            with pytest.raises(AdapterError, match="UNAVAILABLE"):
                await built.check(instance())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda a: a.tls.SetInParent(), "want tokenPath or oauth"),
        (lambda a: a.mutual.SetInParent(), "mutual.private_key: must not be empty"),
    ],
)
async def test_what_cannot_be_had(change: Callable[[Any], None], complaint: str) -> None:
    connection = cfg_pb2.Connection(address="127.0.0.1:1")
    change(connection.authentication)
    with pytest.raises(AdapterError, match=complaint):
        async with handler(adapter(CHECK, f"{MODEL}CheckResult"), connection):
            pass
