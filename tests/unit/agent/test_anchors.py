"""Who vouches for whom (citadel-and-agent.md A8.3, A8.5, B3)."""

from __future__ import annotations

import pytest
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import (
    SPIFFECertValidatorConfig,
)

from mast.agent.core import secrets
from mast.agent.core.anchors import Anchors, is_issued_by, revocation_lists, validation
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle
from tests.support.pki import Ca

OURS, NEXT, THEIRS, CONFIGURED = (Ca.root(name) for name in ("ours", "next", "theirs", "given"))
LIST = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
MORE = b"-----BEGIN X509 CRL-----\nBBBB\n-----END X509 CRL-----\n"


def bundle(domain: str, *roots: Ca, tainted: Ca | None = None, lists: bytes = b"") -> TrustBundle:
    made = TrustBundle(trust_domain=domain, crl_pem=lists.decode())
    for root in roots:
        state = Root.TAINTED if root is tainted else Root.ACTIVE
        made.roots.add(pem=root.pem.decode(), state=state)
    return made


def anchors(*bundles: TrustBundle, **more: tuple[bytes, ...]) -> Anchors:
    return Anchors("a", {each.trust_domain: each for each in bundles}, **more)


def pem(*roots: Ca) -> bytes:
    return secrets.bundle(root.pem for root in roots)


@pytest.mark.parametrize(
    ("given", "roots"),
    [
        pytest.param(anchors(told=(OURS.pem, NEXT.pem)), pem(OURS, NEXT), id="told"),
        pytest.param(anchors(bundle("b", THEIRS), told=(OURS.pem,)), pem(OURS), id="others-only"),
        pytest.param(
            anchors(bundle("a", NEXT), told=(OURS.pem,)), pem(NEXT), id="what-was-dropped-is-gone"
        ),
        pytest.param(
            anchors(bundle("a", NEXT), told=(OURS.pem,), later=(OURS.pem,)),
            pem(NEXT, OURS),
            id="told-after-the-bundle",
        ),
        pytest.param(
            anchors(bundle("a", NEXT), configured=(CONFIGURED.pem,)),
            pem(NEXT, CONFIGURED),
            id="the-operators-always-count",
        ),
    ],
)
def test_our_own_roots(given: Anchors, roots: bytes) -> None:
    assert given.roots == roots


def test_one_domain_needs_no_more_than_envoys_own_validator() -> None:
    """Aliases of ours have our roots."""
    ours = anchors(bundle("a", OURS, lists=LIST), bundle("old-name", OURS))
    found = validation("ROOTCA", ours, MORE + LIST).validation_context
    assert found.trusted_ca.inline_bytes == pem(OURS)
    assert found.crl.inline_bytes == LIST + MORE
    assert not found.HasField("custom_validator_config")


def test_several_domains_are_kept_apart() -> None:
    """Lists stand with the roots they are about; an alias has what our domain has."""
    known = anchors(
        bundle("a", OURS, lists=LIST),
        bundle("old-name", OURS),
        bundle("b", THEIRS),
        bundle("nobody"),
        configured=(CONFIGURED.pem,),
    )
    context = validation("ROOTCA", known, b"").validation_context
    assert not context.HasField("trusted_ca")
    assert context.custom_validator_config.name == "envoy.tls.cert_validator.spiffe"
    config = SPIFFECertValidatorConfig()
    assert context.custom_validator_config.typed_config.Unpack(config)
    own = pem(OURS, CONFIGURED) + LIST
    assert {each.name: each.trust_bundle.inline_bytes for each in config.trust_domains} == {
        "a": own,
        "old-name": own,
        "b": pem(THEIRS),
    }


def test_tainted_roots() -> None:
    known = anchors(bundle("a", OURS, NEXT, tainted=OURS), bundle("b", THEIRS, tainted=THEIRS))
    assert known.tainted == [OURS.pem.decode()], "those of others are theirs to replace"
    assert anchors().tainted == ()
    intermediate = OURS.intermediate()
    for pair, old in (
        (OURS.leaf(uris=["spiffe://a/x"]), True),
        (intermediate.leaf(uris=["spiffe://a/x"]), True),
        (NEXT.leaf(uris=["spiffe://a/x"]), False),
        (Ca.root("ours").leaf(uris=["spiffe://a/x"]), False),
    ):
        assert is_issued_by(pair.chain, known.tainted) is old


def test_lists_are_there_once_and_nothing_else() -> None:
    assert revocation_lists([b"# note\n" + LIST, MORE + LIST, b""]) == LIST + MORE
    assert revocation_lists([b"nothing"]) == b""
