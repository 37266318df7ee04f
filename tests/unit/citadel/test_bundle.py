"""The published trust bundle (citadel-and-agent.md A8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

from mast.citadel.core.authority import Authority, State, pem
from mast.citadel.core.bundle import next_bundle
from mastapi.trust.v1 import trust_pb2
from tests.support.pki import Ca
from tests.unit.citadel.examples import DOMAIN, authority


def test_first_bundle() -> None:
    signing = authority()
    bundle = next_bundle(signing, None)
    assert bundle is not None
    assert (bundle.trust_domain, bundle.sequence) == (DOMAIN, 1)
    (root,) = bundle.roots
    certificate = signing.active.certificate
    assert (root.pem, root.state) == (pem(certificate), trust_pb2.Root.ACTIVE)
    assert root.not_before.ToDatetime(tzinfo=UTC) == certificate.not_valid_before_utc
    assert root.not_after.ToDatetime(tzinfo=UTC) == certificate.not_valid_after_utc


def test_nothing_new_is_not_published() -> None:
    signing = authority()
    assert next_bundle(signing, next_bundle(signing, None)) is None


def test_sequence_rises_with_a_change() -> None:
    signing = authority()
    stored = trust_pb2.TrustBundle(trust_domain=DOMAIN, sequence=41)
    bundle = next_bundle(signing, stored)
    assert bundle is not None
    assert bundle.sequence == 42
    assert stored.sequence == 41


def test_states() -> None:
    active, prepared, old = (authority(kind).active for kind in ("P256", "P384", "RSA2048"))
    extra = Ca.root()
    bundle = next_bundle(
        Authority(
            DOMAIN,
            (
                active,
                replace(prepared, state=State.PREPARED),
                replace(old, state=State.OLD),
                # A root that several slots share counts as active if one of them is.
                replace(active, state=State.OLD),
            ),
            more_roots=(extra.certificate,),
        ),
        None,
    )
    assert bundle is not None
    states = {root.pem: root.state for root in bundle.roots}
    assert states == {
        pem(active.certificate): trust_pb2.Root.ACTIVE,
        pem(prepared.certificate): trust_pb2.Root.PREPARED,
        pem(old.certificate): trust_pb2.Root.OLD,
        extra.pem.decode(): trust_pb2.Root.ACTIVE,
    }
    assert [root.pem for root in bundle.roots] == sorted(states)
