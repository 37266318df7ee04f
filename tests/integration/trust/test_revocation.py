"""Certificates that count no more are refused by real Envoys (citadel-and-agent.md A1, B3.5)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from mast.common.identity.ca_client import CaClient, CaError, new_key_and_csr
from mastapi.citadel.v1 import citadel_pb2
from tests.integration.trust.meshes import (
    Mesh,
    admitted,
    client_context,
    mesh,
    refused,
    workload,
)
from tests.support.ads_server import until
from tests.support.etcd_server import EtcdServer
from tests.support.pki import Ca, Pair

DOMAIN = "a.example"
HOUR = timedelta(hours=1)


def serial(pair: Pair) -> str:
    return f"{pair.leaf.serial_number:x}"


async def no_longer(client: CaClient, csr: bytes) -> bool:
    """Whether Citadel does not take the certificate for another one any more."""
    try:
        await client.sign(csr, HOUR)
    except CaError as error:
        return error.code is grpc.StatusCode.UNAVAILABLE
    return False


async def revoke(made: Mesh, *serials: str) -> citadel_pb2.Authorities:
    request = citadel_pb2.RevokeCertificatesRequest(serials=serials)
    return await made.command("RevokeCertificates", request)


async def test_a_revoked_certificate_is_refused_and_others_go_on(
    etcd: EtcdServer, directory: Path, tmp_path: Path
) -> None:
    async with mesh(etcd.endpoint, directory, DOMAIN) as made:
        async with workload(made, "server") as server, workload(made, "client") as client:
            await client.reaches("server.a.example")
            lost, good = await made.pair("laptop"), await made.pair("laptop")
            contexts = {
                name: client_context(pair, _folder(tmp_path, name))
                for name, pair in (("lost", lost), ("good", good))
            }
            for context in contexts.values():
                assert await admitted(server.address, context)
            seen = await revoke(made, serial(lost), serial(lost))
            assert [slot.revoked for slot in seen.slots] == [1]
            await until(lambda: refused(server.address, contexts["lost"]), seconds=30)
            assert await admitted(server.address, contexts["good"])
            await client.reaches("server.a.example")
            _, csr = new_key_and_csr(server.identity)
            renewing = await made.citadel.client(pair=lost)
            await until(lambda: no_longer(renewing, csr), seconds=30)
            await (await made.citadel.client(pair=good)).sign(csr, HOUR)

            await made.command("PrepareAuthority", citadel_pb2.PrepareAuthorityRequest())
            await made.confirmed()
            bundle = await made.bundle()
            assert bundle.crl_pem.count("BEGIN X509 CRL") == len(bundle.roots) == 2
            await made.command("ActivateAuthority", citadel_pb2.ActivateAuthorityRequest())
            newer = client_context(await made.pair("laptop"), _folder(tmp_path, "newer"))
            assert await admitted(server.address, newer), "its CA has a list as well"
            assert await admitted(server.address, contexts["good"])
            assert not await admitted(server.address, contexts["lost"])

            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await revoke(made, "xyz")
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "serial 'xyz'" in (caught.value.details() or "")


async def test_what_has_no_list_is_not_cut_off(etcd: EtcdServer, directory: Path) -> None:
    """With lists every issuer needs one: revoking would refuse certificates of other CAs."""
    other = Ca.root("elsewhere")
    async with mesh(etcd.endpoint, directory, DOMAIN) as made:
        await made.settings(caCertificates=[{"pem": other.pem.decode()}])
        await until(lambda: made.trusts(2), seconds=30)
        pair = await made.pair("laptop")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await revoke(made, serial(pair))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "O=elsewhere" in (caught.value.details() or "")


def _folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir()
    return made
