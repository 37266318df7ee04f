"""Mixer's port with mutual TLS: certificates from Citadel, callers of the mesh (mixer.md I)."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest

from istio.mixer.v1 import mixer_pb2_grpc
from tests.integration.citadel.process import Citadel, citadel
from tests.integration.mixer.process import check_request, client, mixer
from tests.support.etcd_server import EtcdServer
from tests.support.pki import Pair

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


async def test_mutual_tls(etcd: EtcdServer, tmp_path: Path) -> None:
    async with (
        citadel(etcd.endpoint, tmp_path) as ca,
        mixer(etcd.endpoint, await flags(ca, tmp_path)) as running,
    ):
        roots = await ca.roots()
        pair, _ = await ca.new_pair(await ca.join_token("shop", "reviews"))
        address = await running.address("grpc-mtls")
        options = [("grpc.ssl_target_name_override", "istio-policy.istio-system.svc")]
        async with grpc.aio.secure_channel(address, credentials(roots, None), options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await mixer_pb2_grpc.MixerStub(channel).Check(check_request({}), timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        async with grpc.aio.secure_channel(address, credentials(roots, pair), options) as channel:
            answer = await mixer_pb2_grpc.MixerStub(channel).Check(check_request({}), timeout=10)
            assert answer.precondition.valid_use_count == 10_000
        issued = await running.logged("certificate.renewed")
        assert issued["identity"] == IDENTITY


async def test_without_citadel_the_plaintext_port_serves(etcd: EtcdServer, tmp_path: Path) -> None:
    absent = ["--ca-address", "127.0.0.1:1"]
    async with mixer(etcd.endpoint, absent) as running, client(running) as stub:
        answer = await stub.Check(check_request({}), timeout=10)
        assert answer.precondition.valid_use_count == 10_000
        assert not [line for line in running.log if line.get("name") == "grpc-mtls"]
