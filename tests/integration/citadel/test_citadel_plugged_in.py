"""A Citadel with a plugged-in CA (citadel-and-agent.md A1, A8.2, D3, D4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509

from mast.citadel.store.authorities import AUTHORITY_KEY
from mast.common.etcd import Store
from mastapi.trust.v1 import trust_pb2
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import EtcdServer
from tests.support.pki import DAY, Ca, key_pem, pem

ROOT = Ca.root("the root")
UPPER = ROOT.intermediate("upper", valid=(-DAY, 90 * DAY))


def files_of(ca: Ca) -> Mapping[str, bytes]:
    return {
        "ca-cert.pem": ca.pem,
        "ca-key.pem": key_pem(ca.key),
        "root-cert.pem": ROOT.pem,
        "cert-chain.pem": b"".join(map(pem, (ca.certificate, *ca.issuers[:-1]))),
    }


def plug_in(directory: Path, files: Mapping[str, bytes]) -> None:
    where = directory / "cacerts"
    where.mkdir(exist_ok=True)
    for name, content in files.items():
        (where / name).write_bytes(content)


@pytest.mark.parametrize("issuers", [(), (UPPER,)], ids=["below-the-root", "two-intermediates"])
async def test_signs_and_serves_with_the_chain(
    etcd: EtcdServer, store: Store, directory: Path, issuers: tuple[Ca, ...]
) -> None:
    ca = (issuers[-1] if issuers else ROOT).intermediate("signing", valid=(-DAY, 30 * DAY))
    plug_in(directory, files_of(ca))
    async with citadel(etcd.endpoint, directory) as running:
        pair, certificate = await running.new_pair(await running.join_token())
        again, _ = await running.new_pair(pair=pair)
        await running.service.logged("bundle.published")
    chain = [x509.load_pem_x509_certificate(c.encode()) for c in certificate.chain_pem]
    assert chain[1:] == [ca.certificate, *(i.certificate for i in reversed(issuers))]
    assert certificate.roots_pem.encode() == ROOT.pem
    assert again.key != pair.key
    assert await store.get(AUTHORITY_KEY) is None
    entry = await store.get("trust/cluster.local")
    assert entry is not None
    assert [r.pem.encode() for r in trust_pb2.TrustBundle.FromString(entry.value).roots] == [
        ROOT.pem
    ]


async def test_a_new_intermediate_is_taken_up_while_serving(
    etcd: EtcdServer, directory: Path
) -> None:
    plug_in(directory, files_of(ROOT.intermediate("first", valid=(-DAY, 30 * DAY))))
    async with citadel(etcd.endpoint, directory) as running:
        pair, _ = await running.new_pair(await running.join_token())
        second = ROOT.intermediate("second", valid=(-DAY, 30 * DAY))
        plug_in(directory, files_of(second))
        await running.service.logged("authority.loaded", subject="O=second")
        await running.service.logged("server_certificate.renewed")
        _, certificate = await running.new_pair(pair=pair)
    certificate.leaf.verify_directly_issued_by(second.certificate)


async def test_part_of_a_ca_is_fatal(etcd: EtcdServer, directory: Path) -> None:
    files = dict(files_of(UPPER))
    del files["ca-key.pem"]
    plug_in(directory, files)
    async with citadel(etcd.endpoint, directory) as running:
        assert await running.service.ended() == 1
    assert "without ca-key.pem" in (await running.service.logged("process.crashed"))["error"]


async def test_expiry_is_measured(ca: Citadel) -> None:
    """A11's gauges, and counters that began to count."""
    await ca.new_pair(await ca.join_token())
    status, text = await ca.service.get("/metrics")
    assert status == 200
    values = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }
    assert values["citadel_server_csr_count"] == 1
    assert values["citadel_server_success_cert_issuance_count"] == 1
    left = values["citadel_server_root_cert_expiry_seconds"]
    assert 3649 * 86400 < left <= 3650 * 86400
    assert values["citadel_server_cert_chain_expiry_seconds"] == left
    assert values["citadel_server_root_cert_expiry_timestamp"] > 1e9
