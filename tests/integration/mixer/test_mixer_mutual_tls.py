"""Mixer's port with mutual TLS: certificates from Citadel, callers of the mesh (mixer.md I)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from envoy.service.auth.v3 import external_auth_pb2_grpc
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from istio.mixer.v1 import mixer_pb2_grpc
from mast.mixer.api import access_log
from tests.integration.citadel.process import Citadel, citadel
from tests.integration.mixer.process import check_request, client, mixer
from tests.support.etcd_server import EtcdServer
from tests.support.pki import Pair
from tests.support.service_process import ServiceProcess

OPTIONS = [("grpc.ssl_target_name_override", "istio-policy.istio-system.svc")]
IDENTITY = "spiffe://cluster.local/ns/istio-system/sa/istio-mixer-service-account"


async def flags(ca: Citadel, directory: Path) -> list[object]:
    root, token = directory / "root.pem", directory / "token"
    root.write_bytes(await ca.roots())
    token.write_text(await ca.join_token("istio-system", "istio-mixer-service-account"))
    return ["--ca-address", await ca.service.address("ca"), "--ca-root-file", root,
            "--ca-token-file", token]  # fmt: skip


def credentials(roots: bytes, pair: Pair | None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        roots, pair.key if pair else None, pair.chain if pair else None
    )


@dataclass
class Secured:
    """A Mixer with mutual TLS, and a connection to it of a workload of namespace shop."""

    mixer: ServiceProcess
    roots: bytes
    address: str
    channel: grpc.aio.Channel


@pytest.fixture
async def secured(etcd: EtcdServer, tmp_path: Path) -> AsyncIterator[Secured]:
    async with (
        citadel(etcd.endpoint, tmp_path) as ca,
        mixer(etcd.endpoint, await flags(ca, tmp_path)) as running,
    ):
        roots = await ca.roots()
        pair, _ = await ca.new_pair(await ca.join_token("shop", "reviews"))
        address = await running.address("grpc-mtls")
        async with grpc.aio.secure_channel(address, credentials(roots, pair), OPTIONS) as channel:
            yield Secured(running, roots, address, channel)


async def test_mutual_tls(secured: Secured) -> None:
    anonymous = credentials(secured.roots, None)
    async with grpc.aio.secure_channel(secured.address, anonymous, OPTIONS) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await mixer_pb2_grpc.MixerStub(channel).Check(check_request({}), timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    stub = mixer_pb2_grpc.MixerStub(secured.channel)
    answer = await stub.Check(check_request({}), timeout=10)
    assert answer.precondition.valid_use_count == 10_000
    issued = await secured.mixer.logged("certificate.renewed")
    assert issued["identity"] == IDENTITY


@pytest.mark.parametrize(
    ("reporter", "code"),
    [
        pytest.param("reviews-1.shop", grpc.StatusCode.OK, id="own-namespace"),
        pytest.param("vault-1.bank", grpc.StatusCode.PERMISSION_DENIED, id="another-one"),
        pytest.param("", grpc.StatusCode.PERMISSION_DENIED, id="nobody"),
    ],
)
async def test_proxies_report_for_their_own_namespace(
    reporter: str, code: grpc.StatusCode, secured: Secured
) -> None:
    """Neither checks nor access logs may be in the name of somebody else."""
    log = StreamAccessLogsMessage()
    log.identifier.node.id = f"sidecar~10.0.0.1~{reporter}~shop.svc.cluster.local"
    log.identifier.log_name = "inbound"
    uid = f"kubernetes://{reporter}" if reporter else ""
    checking = external_auth_pb2_grpc.AuthorizationStub(secured.channel)
    # A stream of one message; a client of streams calls it INTERNAL if it cannot write to the end.
    logging = secured.channel.unary_unary(f"/{access_log.SERVICE}/StreamAccessLogs")
    check = checking.Check(CheckRequest(), metadata=[("x-mixer-uid", uid)], timeout=10)
    logged = logging(log.SerializeToString(), timeout=10)
    assert await check.code() is code
    assert await logged.code() is code


async def test_without_citadel_the_plaintext_port_serves(etcd: EtcdServer, tmp_path: Path) -> None:
    absent = ["--ca-address", "127.0.0.1:1"]
    async with mixer(etcd.endpoint, absent) as running, client(running) as stub:
        answer = await stub.Check(check_request({}), timeout=10)
        assert answer.precondition.valid_use_count == 10_000
        assert not [line for line in running.log if line.get("name") == "grpc-mtls"]
