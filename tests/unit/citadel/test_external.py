"""CSRs for a CA outside and what comes back from it (citadel-and-agent.md A7)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.citadel.api.external import ExternalSigning
from mast.citadel.api.signing import Order
from mast.citadel.callers import outer_roots
from mast.citadel.config import Config
from mast.citadel.core.csr import read_csr
from mast.citadel.core.external import check_csr, external_chain, roots_by_signer, signer_name
from mast.citadel.core.refusals import BadCsr, SigningFailed, TtlTooLong
from tests.support.pki import DAY, Ca, pem, wall_clock
from tests.unit.citadel.examples import HOUR, ME, csr_pem, private_key

OTHER = "spiffe://cluster.local/ns/shop/sa/ratings"
URI = x509.UniformResourceIdentifier


def csr(
    names: Sequence[x509.GeneralName] = (URI(ME),),
    subject: Sequence[tuple[Any, str]] = (),
    *extensions: x509.ExtensionType,
) -> bytes:
    name = x509.Name([x509.NameAttribute(oid, value, _validate=False) for oid, value in subject])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for extension in (*([x509.SubjectAlternativeName(names)] if names else []), *extensions):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(private_key("P256"), hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "request_pem",
    [
        pytest.param(csr(), id="own-identity"),
        pytest.param(csr(()), id="no-san"),
        pytest.param(csr((URI(ME),), [(NameOID.ORGANIZATION_NAME, "")]), id="empty-organization"),
        pytest.param(csr_pem(), id="as-agents-send-it"),
    ],
)
def test_csrs_that_may_go_out(request_pem: bytes) -> None:
    check_csr(request_pem, (ME,))


@pytest.mark.parametrize(
    ("request_pem", "reason"),
    [
        pytest.param(csr((URI(OTHER),)), "not the caller's identity", id="other-identity"),
        pytest.param(csr((URI(ME), URI(OTHER))), "more than one URI", id="two-uris"),
        pytest.param(csr((URI(ME), x509.DNSName("a.b"))), "kind DNSName", id="dns"),
        pytest.param(csr((x509.RFC822Name("a@b.c"),)), "kind RFC822Name", id="e-mail"),
        pytest.param(
            csr((URI(ME),), [(NameOID.COMMON_NAME, "root")]), "has a subject", id="subject"
        ),
        pytest.param(
            csr((URI(ME),), [(NameOID.ORGANIZATION_NAME, "x")]), "has a subject", id="organization"
        ),
        pytest.param(
            csr((URI(ME),), [], x509.BasicConstraints(ca=True, path_length=None)),
            "extension 2.5.29.19",
            id="ca",
        ),
    ],
)
def test_csrs_that_may_not(request_pem: bytes, reason: str) -> None:
    with pytest.raises(BadCsr) as caught:
        check_csr(request_pem, (ME,))
    assert reason in caught.value.reason


ROOT = Ca.root("outer")
INTER = ROOT.intermediate("inner", valid=(-DAY, 30 * DAY))


def nameless() -> bytes:
    """A leaf for the CSR's key that is for nobody."""
    now = wall_clock()
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ROOT.certificate.subject)
        .public_key(private_key("P256").public_key())
        .serial_number(7)
        .not_valid_before(now - HOUR)
        .not_valid_after(now + HOUR)
        .sign(ROOT.key, hashes.SHA256())
    )
    return pem(leaf)


def signed(by: Ca, uri: str = ME, key: str = "P256") -> bytes:
    """A leaf for the CSR's key, as a signer makes it."""
    now = wall_clock()
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(by.certificate.subject)
        .public_key(private_key(key).public_key())
        .serial_number(7)
        .not_valid_before(now - HOUR)
        .not_valid_after(now + HOUR)
        .add_extension(x509.SubjectAlternativeName([URI(uri)]), critical=True)
        .sign(by.key, hashes.SHA256())
    )
    return pem(leaf)


@pytest.mark.parametrize(
    ("answer", "roots", "between"),
    [
        pytest.param(signed(ROOT) + ROOT.pem, [], 0, id="self-signed-tail"),
        pytest.param(signed(INTER) + INTER.pem + ROOT.pem, [], 1, id="with-intermediate"),
        pytest.param(signed(INTER) + INTER.pem, [ROOT.certificate], 1, id="mounted-root"),
        pytest.param(signed(ROOT), [ROOT.certificate], 0, id="leaf-alone"),
    ],
)
def test_answers(answer: bytes, roots: list[x509.Certificate], between: int) -> None:
    chain = external_chain(answer, roots, csr(), (ME,))
    assert len(chain.intermediates) == between
    assert chain.roots_pem.encode() == ROOT.pem


@pytest.mark.parametrize(
    ("answer", "roots", "reason"),
    [
        pytest.param(b"nothing", [], "no PEM", id="nonsense"),
        pytest.param(b"", [], "no PEM", id="empty"),
        pytest.param(signed(ROOT, OTHER) + ROOT.pem, [], "is for spiffe", id="other-identity"),
        pytest.param(signed(ROOT, key="P384") + ROOT.pem, [], "another key", id="other-key"),
        pytest.param(signed(ROOT), [], "no root", id="no-root"),
        pytest.param(nameless() + ROOT.pem, [], "has no SAN", id="for-nobody"),
        pytest.param(
            signed(INTER) + INTER.pem + ROOT.pem,
            [Ca.root("third").certificate],
            "no root",
            id="other-root",
        ),
    ],
)
def test_answers_that_are_not_handed_out(
    answer: bytes, roots: list[x509.Certificate], reason: str
) -> None:
    with pytest.raises(SigningFailed) as caught:
        external_chain(answer, roots, csr(), (ME,))
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("fixed", "domain", "wished", "signer"),
    [
        ("clusterissuers/istio", "", "", "clusterissuers/istio"),
        ("a/b", "", "ignored", "a/b"),
        ("", "signers.example", "foo", "signers.example/foo"),
        ("a/b", "signers.example", "", "a/b"),
    ],
)
def test_signers(fixed: str, domain: str, wished: str, signer: str) -> None:
    assert signer_name(fixed, domain, wished) == signer


@pytest.mark.parametrize("wished", ["", "other.example/root"])
def test_no_signer(wished: str) -> None:
    with pytest.raises(SigningFailed, match="signing failed"):
        signer_name("", "signers.example", wished)


async def test_the_whole_way() -> None:
    asked: list[tuple[str, timedelta]] = []

    async def sign(request_pem: bytes, signer: str, ttl: timedelta) -> bytes:
        asked.append((signer, ttl))
        return signed(INTER) + INTER.pem + ROOT.pem

    signing = ExternalSigning(sign_at=sign, roots=lambda _: (), domain="signers.example")
    signing.check_ready()

    def order(ttl: timedelta, names: tuple[str, ...] = (ME, "reviews.example")) -> Order:
        return Order(read_csr(csr()), csr(), names, ttl, signer="foo")

    made = await signing.sign(order(HOUR))
    assert asked == [("signers.example/foo", HOUR)]
    assert [each.encode() for each in made.cert_chain[1:]] == [INTER.pem, ROOT.pem]
    with pytest.raises(TtlTooLong):
        await signing.sign(order(2161 * HOUR))
    with pytest.raises(BadCsr):
        await signing.sign(order(HOUR, (OTHER,)))
    assert len(asked) == 1


def test_roots_of_signers_in_the_mesh_settings() -> None:
    other = Ca.root("other")
    entries = [
        MeshConfig.CertificateData(pem=ROOT.pem.decode(), cert_signers=["a.b/c", "a.b/d"]),
        MeshConfig.CertificateData(pem=other.pem.decode(), cert_signers=["a.b/c"]),
        MeshConfig.CertificateData(pem="-----BEGIN CERTIFICATE-----", cert_signers=["a.b/e"]),
        MeshConfig.CertificateData(spiffe_bundle_url="https://x", cert_signers=["a.b/f"]),
        MeshConfig.CertificateData(pem=other.pem.decode()),
    ]
    assert roots_by_signer(entries) == {
        "a.b/c": (ROOT.certificate, other.certificate),
        "a.b/d": (ROOT.certificate,),
    }


def test_where_outer_roots_are_from(tmp_path: Path) -> None:
    """Mounted; else, for a signer that callers do not pick, the cluster's own (A7)."""
    server = {"server": "https://k8s", "certificate-authority-data": encoded(ROOT.pem)}
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": server}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    settings = {"kubeconfig": tmp_path / "kubeconfig", "external_ca_root": tmp_path / "root.pem"}
    assert outer_roots(Config(k8s_signer="a/b", **settings)) == (ROOT.certificate,)
    assert outer_roots(Config(cert_signer_domain="a", **settings)) == ()
    assert outer_roots(Config(external_ca_root=tmp_path / "root.pem")) == ()
    mounted = Ca.root("mounted")
    (tmp_path / "root.pem").write_bytes(mounted.pem)
    assert outer_roots(Config(k8s_signer="a/b", **settings)) == (mounted.certificate,)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
