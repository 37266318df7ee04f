"""Certificates by a cluster's signers, on a fake API server (citadel-and-agent.md A7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from mast.citadel.api.external import ExternalSigning
from mast.citadel.api.signing import Order
from mast.citadel.core.csr import read_csr
from mast.citadel.core.refusals import SigningFailed
from mast.citadel.store.kubernetes_signer import NAME, USAGES, KubernetesSigner
from mast.common.kubernetes import Api, connect
from mast.common.kubernetes.objects import CERTIFICATE_SIGNING_REQUESTS as REQUESTS
from tests.fakes.kubernetes.callers import Rule
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.pki import DAY, Ca
from tests.unit.citadel.examples import HOUR, ME, csr_pem

SIGNER = "clusterissuers.example/mesh"
ROOT = Ca.root("outer")
INNER = ROOT.intermediate("inner", valid=(-DAY, 30 * DAY))


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with api_server() as running:
        running.signers.by_name[SIGNER] = INNER
        yield running


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    async with connect(cluster.access()) as connected:
        yield connected


def signer(api: Api, patience: timedelta = timedelta(seconds=30)) -> KubernetesSigner:
    serial = iter(range(1, 100))
    return KubernetesSigner(api, lambda size: next(serial).to_bytes(size), patience)


async def test_a_request_is_made_approved_and_removed(cluster: Cluster, api: Api) -> None:
    signing = ExternalSigning(
        sign_at=signer(api).sign, roots=lambda _: (), domain="clusterissuers.example"
    )
    order = Order(read_csr(csr_pem()), csr_pem(), (ME,), HOUR, signer="mesh")
    made = await signing.sign(order)
    assert [each.encode() for each in made.cert_chain[1:]] == [INNER.pem, ROOT.pem]
    events = [e.object for e in cluster.objects.history if e.resource == REQUESTS]
    created = events[0]
    assert created["metadata"]["name"].startswith(NAME)
    assert created["spec"]["signerName"] == SIGNER
    assert created["spec"]["usages"] == list(USAGES)
    assert created["spec"]["expirationSeconds"] == 3600
    assert cluster.objects.list(REQUESTS, "", lambda _: True) == []


async def test_short_lifetimes_are_raised_to_what_the_api_takes(cluster: Cluster, api: Api) -> None:
    await signer(api).sign(csr_pem(), SIGNER, timedelta(seconds=5))
    events = [e.object for e in cluster.objects.history if e.resource == REQUESTS]
    assert events[0]["spec"]["expirationSeconds"] == 600


@pytest.mark.parametrize("kind", ["silent", "failing", "forbidden", "no-approval"])
async def test_signers_that_do_not_sign(cluster: Cluster, api: Api, kind: str) -> None:
    reasons = {
        "silent": "did not answer",
        "failing": "Failed: SignerValidationFailure",
        "forbidden": "403",
        "no-approval": "403",
    }
    if kind == "silent":
        cluster.signers.silent.add(SIGNER)
    if kind == "failing":
        cluster.signers.failing.add(SIGNER)
    if kind == "forbidden":
        cluster.callers.refused.append(Rule("create", REQUESTS.plural))
    if kind == "no-approval":
        cluster.callers.refused.append(Rule("update", f"{REQUESTS.plural}/approval"))
    patience = timedelta(seconds=0.3 if kind == "silent" else 30)
    with pytest.raises(SigningFailed) as caught:
        await signer(api, patience).sign(csr_pem(), SIGNER, HOUR)
    assert reasons[kind] in caught.value.reason
    assert str(caught.value) == "CSR signing error (signing failed)"
    assert cluster.objects.list(REQUESTS, "", lambda _: True) == []
