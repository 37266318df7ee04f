"""A CA that the operator brings as a directory of files (citadel-and-agent.md A1)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from cryptography import x509

from mast.citadel.core.authority import Authority, Slot, State, certificates, issued_by
from mast.citadel.core.keys import PrivateKey, PublicKey, load_private_key

CRL_FILE = "ca-crl.pem"

_CRL = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """File names by role."""

    certificate: str
    key: str
    roots: str
    chain: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files that must all be there, each once."""
        return tuple(dict.fromkeys((self.certificate, self.key, self.roots, self.chain)))


# Looked for in this order.
TLS_SECRET = Layout("tls.crt", "tls.key", "ca.crt", "tls.crt")
ISTIO = Layout("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")
ALL_FILES = (*TLS_SECRET.files, *ISTIO.files, CRL_FILE)


class InvalidPluggedInCa(Exception):
    """A directory that holds part of a CA, or one that cannot sign; names every problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("plugged-in CA: " + "; ".join(problems))
        self.problems = tuple(problems)


def layout(present: Mapping[str, bytes]) -> Layout | None:
    """Which layout a directory follows; None if it holds none of the files.

    Raises InvalidPluggedInCa if only some of a layout's files are there.
    """
    for candidate in (TLS_SECRET, ISTIO):
        if all(name in present for name in candidate.files):
            return candidate
    missing = [
        f"{', '.join(found)} without {', '.join(set(candidate.files) - set(found))}"
        for candidate in (TLS_SECRET, ISTIO)
        if (found := [name for name in candidate.files if name in present])
    ]
    if missing:
        raise InvalidPluggedInCa(missing)
    return None


def plugged_in(
    present: Mapping[str, bytes],
    trust_domain: str,
    *,
    now: datetime,
    more_roots: tuple[x509.Certificate, ...] = (),
) -> Authority | None:
    """The authority in a directory's files (name to content), None if there is none.

    Raises InvalidPluggedInCa with all that is wrong: files missing, unreadable, a key that does
    not match, a chain that does not lead to a root, certificates that are no CA or not valid now,
    an issuer without CRL although there are CRLs.
    """
    chosen = layout(present)
    if chosen is None:
        return None
    problems: list[str] = []
    signing = _certificates(present, chosen.certificate, problems)[:1]
    chain = _certificates(present, chosen.chain, problems, blank=True)
    roots = _certificates(present, chosen.roots, problems)
    key = _key(present, chosen.key, problems)
    if problems or key is None:
        raise InvalidPluggedInCa(problems)
    (certificate,) = signing
    if certificate.public_key() != key.public_key():
        problems.append(f"{chosen.key} is not the key of {chosen.certificate}")
    if chain and chain[0] != certificate and certificate not in roots:
        problems.append(f"{chosen.chain} does not begin with {chosen.certificate}")
    path = _path(certificate, chain, roots, problems)
    problems += [p for c in path for p in _unfit(c, now)]
    if chosen is ISTIO and CRL_FILE in present:
        problems += _crl_problems(present[CRL_FILE], path)
    if problems:
        raise InvalidPluggedInCa(problems)
    issuers = tuple(c for c in path[1:] if c not in roots)
    slot = Slot(State.ACTIVE, certificate, key, issuers, roots, certificate.not_valid_before_utc)
    crl_pem = present.get(CRL_FILE, b"").decode() if chosen is ISTIO else ""
    return Authority(trust_domain, (slot,), more_roots, crl_pem)


def refused_reload(current: Authority, new: Authority, *, multiroot: bool) -> str:
    """Why a changed directory is not taken up while serving, "" if it is (A8.2).

    Other intermediates always are; other roots only if the mesh takes several (``multiroot``,
    ``ISTIO_MULTIROOT_MESH``) and one of the bundles holds the other.
    """
    before, after = set(current.roots), set(new.roots)
    if before == after:
        return ""
    if not multiroot:
        return "the roots differ, and the mesh takes one root only"
    if before < after or after < before:
        return ""
    return "the roots differ, and neither bundle holds the other"


def _certificates(
    present: Mapping[str, bytes], name: str, problems: list[str], *, blank: bool = False
) -> tuple[x509.Certificate, ...]:
    try:
        found = certificates(present[name])
    except ValueError:
        problems.append(f"{name} is no PEM of certificates")
        return ()
    if not found and not blank:
        problems.append(f"{name} holds no certificate")
    return found


def _key(present: Mapping[str, bytes], name: str, problems: list[str]) -> PrivateKey | None:
    try:
        return load_private_key(present[name])
    except ValueError as error:
        problems.append(f"{name}: {error}")
        return None


def _path(
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    problems: list[str],
) -> list[x509.Certificate]:
    """From the signing certificate up to a root, both included."""
    path = [certificate]
    candidates = [c for c in chain if c != certificate]
    while path[-1] not in roots:
        above = next((c for c in (*roots, *candidates) if issued_by(path[-1], c)), None)
        if above is None or above in path:
            problems.append(f"no root vouches for {path[-1].subject.rfc4514_string()!r}")
            break
        path.append(above)
    return path


def _unfit(certificate: x509.Certificate, now: datetime) -> list[str]:
    name = f"certificate {certificate.subject.rfc4514_string()!r}"
    problems = []
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        is_ca = constraints.value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca:
        problems.append(f"{name} is no CA")
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        problems.append(
            f"{name} is valid from {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}, not now"
        )
    return problems


def _crl_problems(crl_pem: bytes, path: Sequence[x509.Certificate]) -> list[str]:
    """With a CRL, every issuer of a chain needs its own (Envoy's rule); none may revoke another."""
    try:
        lists = [x509.load_pem_x509_crl(block) for block in _CRL.findall(crl_pem)]
    except ValueError:
        return [f"{CRL_FILE} is no PEM of CRLs"]
    problems = []
    for below, issuer in zip((None, *path), path, strict=False):
        name = issuer.subject.rfc4514_string()
        own = [crl for crl in lists if _is_of(crl, issuer)]
        if not own:
            problems.append(f"{CRL_FILE} has no list of {name!r}")
        if below and any(
            crl.get_revoked_certificate_by_serial_number(below.serial_number) for crl in own
        ):
            problems.append(f"{CRL_FILE} revokes {below.subject.rfc4514_string()!r}")
    return problems


def _is_of(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    return (
        crl.issuer == issuer.subject
        and isinstance(key, get_args(PublicKey))
        and crl.is_signature_valid(key)
    )
