"""A plugged-in CA (citadel-and-agent.md A1, A8.2, D3, D4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from mast.citadel.core.authority import Authority, Revocation, pem
from mast.citadel.core.bundle import next_bundle
from mast.citadel.core.plugged_in import (
    ALL_FILES,
    InvalidPluggedInCa,
    plugged_in,
    refused_reload,
)
from mast.citadel.core.revocation import revoked_serials
from tests.support.pki import DAY, Ca, key_pem, wall_clock
from tests.unit.citadel.examples import DOMAIN

ROOT = Ca.root("the root")
UPPER = ROOT.intermediate("upper", valid=(-DAY, 90 * DAY))
LOWER = UPPER.intermediate("lower", valid=(-DAY, 30 * DAY))

Files = dict[str, bytes]


def chain_of(ca: Ca) -> bytes:
    """The certificate and its issuers below the root."""
    return b"".join(pem(c).encode() for c in (ca.certificate, *ca.issuers[:-1]))


def istio(ca: Ca = LOWER, root: Ca = ROOT) -> Files:
    return {
        "ca-cert.pem": ca.pem,
        "ca-key.pem": key_pem(ca.key),
        "root-cert.pem": root.pem,
        "cert-chain.pem": chain_of(ca),
    }


def tls_secret(ca: Ca = LOWER, root: Ca = ROOT) -> Files:
    return {"tls.crt": chain_of(ca), "tls.key": key_pem(ca.key), "ca.crt": root.pem}


def crl(issuer: Ca, revoked: Sequence[Ca] = ()) -> bytes:
    now = wall_clock()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now)
        .next_update(now + DAY)
    )
    for ca in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(ca.certificate.serial_number)
            .revocation_date(now)
            .build()
        )
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def load(files: Files, more_roots: tuple[x509.Certificate, ...] = ()) -> Authority | None:
    return plugged_in(files, DOMAIN, now=wall_clock(), more_roots=more_roots)


def loaded(files: Files) -> Authority:
    authority = load(files)
    assert authority is not None
    return authority


def test_no_file_no_authority() -> None:
    assert load({}) is None
    assert load({"ca-crl.pem": b"x"}) is None


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(istio(), id="istio"),
        pytest.param(tls_secret(), id="tls-secret"),
        pytest.param({**istio(Ca.root(), Ca.root()), **tls_secret()}, id="tls-secret-is-first"),
        pytest.param({**istio(), "ca.crt": b"stray"}, id="the-complete-one-counts"),
    ],
)
def test_two_layouts(files: Files) -> None:
    authority = loaded(files)
    assert authority.trust_domain == DOMAIN
    assert authority.active.certificate == LOWER.certificate
    assert authority.chain_elements == (LOWER.pem.decode(), UPPER.pem.decode(), ROOT.pem.decode())


def test_chain_in_any_order_that_begins_with_the_signing_certificate() -> None:
    deep = LOWER.intermediate("deep")
    files = istio(deep)
    files["cert-chain.pem"] = deep.pem + UPPER.pem + LOWER.pem + ROOT.pem
    assert loaded(files).chain_elements == (
        *(ca.pem.decode() for ca in (deep, LOWER, UPPER)),
        ROOT.pem.decode(),
    )


@pytest.mark.parametrize("chain", [b"", ROOT.pem], ids=["blank-chain", "itself-in-chain"])
def test_signing_certificate_that_is_the_root(chain: bytes) -> None:
    files = {**istio(ROOT, ROOT), "cert-chain.pem": chain}
    assert loaded(files).chain_elements == (ROOT.pem.decode(),)


def test_the_ca_that_an_istio_made_for_itself_is_adopted() -> None:
    """Secret istio-ca-secret, mounted: no chain, and a key that nobody needs."""
    files = {
        "ca-cert.pem": ROOT.pem,
        "ca-key.pem": key_pem(ROOT.key),
        "root-cert.pem": ROOT.pem,
        "cert-chain.pem": b"",
        "key.pem": b"",
    }
    adopted = loaded(files)
    assert adopted.roots == (ROOT.certificate,)
    assert adopted.active.intermediates == ()


def test_several_roots_are_all_trusted() -> None:
    other, third = Ca.root("other"), Ca.root("third")
    files = {**istio(), "root-cert.pem": other.pem + ROOT.pem}
    authority = load(files, more_roots=(third.certificate,))
    assert authority is not None
    assert set(authority.roots) == {c.certificate for c in (ROOT, other, third)}


@pytest.mark.parametrize("missing", ["ca-cert.pem", "ca-key.pem", "root-cert.pem", "tls.key"])
def test_part_of_a_ca_is_fatal(missing: str) -> None:
    files = tls_secret() if missing == "tls.key" else istio()
    del files[missing]
    with pytest.raises(InvalidPluggedInCa, match=f"without {missing}"):
        load(files)


def test_two_partial_layouts_are_both_named() -> None:
    with pytest.raises(InvalidPluggedInCa) as caught:
        load({"tls.crt": b"", "ca-key.pem": b""})
    assert len(caught.value.problems) == 2


def with_crl(*lists: bytes) -> Files:
    return {**istio(), "ca-crl.pem": b"".join(lists)}


def foreign_issuer() -> Files:
    return istio(LOWER, Ca.root("another root"))


def gap() -> Files:
    return {**istio(), "cert-chain.pem": LOWER.pem}


def unnamed() -> Ca:
    """A CA of the same name and another key: its lists are not the root's."""
    return Ca.root("the root")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        pytest.param(
            lambda: {**istio(), "ca-key.pem": key_pem(UPPER.key)},
            "ca-key.pem is not the key of ca-cert.pem",
            id="wrong-key",
        ),
        pytest.param(
            lambda: {**istio(), "ca-key.pem": b"no key"}, "ca-key.pem: want one PEM", id="no-key"
        ),
        pytest.param(
            lambda: {**istio(), "root-cert.pem": b"-----BEGIN CERTIFICATE-----\n"},
            "root-cert.pem is no PEM",
            id="damaged",
        ),
        pytest.param(
            lambda: {**istio(), "root-cert.pem": b"\n"},
            "root-cert.pem holds no certificate",
            id="blank",
        ),
        pytest.param(
            lambda: {**istio(), "cert-chain.pem": UPPER.pem + LOWER.pem},
            "cert-chain.pem does not begin with ca-cert.pem",
            id="chain-order",
        ),
        pytest.param(foreign_issuer, "no root vouches for 'O=upper'", id="foreign-root"),
        pytest.param(gap, "no root vouches for 'O=lower'", id="gap-in-the-chain"),
        pytest.param(
            lambda: istio(ROOT.intermediate("late", valid=(-2 * DAY, -DAY))),
            "certificate 'O=late' is valid from",
            id="expired",
        ),
        pytest.param(
            lambda: istio(ROOT.intermediate("early", valid=(DAY, 2 * DAY))),
            "certificate 'O=early' is valid from",
            id="not-yet-valid",
        ),
        pytest.param(
            lambda: istio(*[Ca.root("leaf", is_ca=False)] * 2),
            "certificate 'O=leaf' is no CA",
            id="no-ca",
        ),
        pytest.param(
            lambda: with_crl(crl(ROOT), crl(LOWER)),
            "ca-crl.pem has no list of 'O=upper'",
            id="one-crl-missing",
        ),
        pytest.param(
            lambda: with_crl(crl(unnamed()), crl(UPPER), crl(LOWER)),
            "ca-crl.pem has no list of 'O=the root'",
            id="crl-of-another-key",
        ),
        pytest.param(
            lambda: with_crl(crl(ROOT, [UPPER]), crl(UPPER), crl(LOWER)),
            "ca-crl.pem revokes 'O=upper'",
            id="revoked",
        ),
        pytest.param(
            lambda: with_crl(b"-----BEGIN X509 CRL-----\nAA\n-----END X509 CRL-----\n"),
            "ca-crl.pem is no PEM of CRLs",
            id="damaged-crl",
        ),
    ],
)
def test_problems_are_named(files: Callable[[], Files], problem: str) -> None:
    with pytest.raises(InvalidPluggedInCa) as caught:
        load(files())
    assert any(p.startswith(problem) for p in caught.value.problems), caught.value.problems


def test_root_without_basic_constraints_is_no_ca() -> None:
    key = ROOT.key
    now = wall_clock()
    bare = (
        x509.CertificateBuilder()
        .subject_name(ROOT.certificate.subject)
        .issuer_name(ROOT.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .sign(key, hashes.SHA256())
    )
    ca = Ca(bare, key)
    with pytest.raises(InvalidPluggedInCa, match="is no CA"):
        load(istio(ca, ca))


def test_issuer_with_a_key_that_signs_no_lists() -> None:
    """An Ed25519 root may vouch for a chain, but has no CRL that Envoy could use."""
    key = ed25519.Ed25519PrivateKey.generate()
    now = wall_clock()
    root = (
        x509.CertificateBuilder()
        .subject_name(ROOT.certificate.subject)
        .issuer_name(ROOT.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    under = Ca(root, key)
    lower = LOWER
    signed = (
        x509.CertificateBuilder()
        .subject_name(lower.certificate.subject)
        .issuer_name(root.subject)
        .public_key(lower.key.public_key())
        .serial_number(2)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    files = istio(Ca(signed, lower.key, (root,)), under)
    assert loaded(files).active.certificate == signed
    files["ca-crl.pem"] = crl(LOWER) + crl(ROOT)
    with pytest.raises(InvalidPluggedInCa, match="no list of 'O=the root'"):
        load(files)


def test_complete_lists_are_accepted_and_published() -> None:
    """Agents put them into validation contexts (B3.5), our own ports read them too."""
    lists = crl(ROOT) + crl(UPPER) + crl(LOWER)
    authority = loaded(with_crl(lists))
    assert authority.active.certificate == LOWER.certificate
    bundle = next_bundle(authority, None)
    assert bundle is not None
    assert bundle.crl_pem.encode() == lists
    assert next_bundle(authority, bundle) is None
    assert revoked_serials(authority) == frozenset()
    gone = replace(authority.active, revocations=(Revocation(7, wall_clock()),))
    assert revoked_serials(replace(authority, slots=(gone,))) == frozenset((7,))


def test_every_problem_is_reported() -> None:
    files = {**istio(), "ca-key.pem": b"", "root-cert.pem": b"", "cert-chain.pem": b"BEGIN"}
    with pytest.raises(InvalidPluggedInCa) as caught:
        load(files)
    assert len(caught.value.problems) == 3
    assert all(problem in str(caught.value) for problem in caught.value.problems)


def test_a_chain_that_turns_in_a_circle_ends() -> None:
    twin = Ca.root("twin")
    with pytest.raises(InvalidPluggedInCa, match="no root vouches for 'O=twin'"):
        load({**istio(twin, ROOT), "cert-chain.pem": twin.pem + twin.pem})


def test_all_files_are_what_is_read() -> None:
    assert set(ALL_FILES) == {*istio(), *tls_secret(), "ca-crl.pem"}


ONE, TWO, THREE = Ca.root("one"), Ca.root("two"), Ca.root("three")


@pytest.mark.parametrize(
    ("before", "after", "multiroot", "refused"),
    [
        pytest.param([ONE], [ONE], False, "", id="same"),
        pytest.param([ONE], [ONE, TWO], False, "takes one root only", id="more-single-root"),
        pytest.param([ONE], [ONE, TWO], True, "", id="more"),
        pytest.param([ONE, TWO], [TWO], True, "", id="less"),
        pytest.param([ONE], [TWO], True, "neither bundle holds the other", id="other"),
        pytest.param([ONE, TWO], [TWO, THREE], True, "neither bundle", id="overlap"),
    ],
)
def test_reload(before: list[Ca], after: list[Ca], multiroot: bool, refused: str) -> None:
    """Other intermediates always, other roots hardly ever (A8.2)."""

    def authority(roots: list[Ca], name: str) -> Authority:
        ca = roots[0].intermediate(name)
        files = {**istio(ca, roots[0]), "root-cert.pem": b"".join(root.pem for root in roots)}
        return loaded(files)

    problem = refused_reload(
        authority(before, "before"), authority(after, "after"), multiroot=multiroot
    )
    assert (refused in problem) if refused else not problem
