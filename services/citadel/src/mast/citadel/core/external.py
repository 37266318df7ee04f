"""Signing by a CA outside of the mesh: which CSRs may be passed on, and what comes back (A7).

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.citadel.core.authority import certificates, issued_by, pem, pem_of
from mast.citadel.core.refusals import BadCsr, SigningFailed

_ALLOWED = {x509.SubjectAlternativeName.oid}


def check_csr(csr_pem: bytes, identities: Collection[str]) -> None:
    """Refuse what the outer CA would put into a certificate although it is not the caller's.

    SANs within the caller's identities, at most one URI, no e-mail, IP or DNS name, no other
    extension, an empty subject (an empty O may be there). Raises BadCsr.
    """
    csr = x509.load_pem_x509_csr(csr_pem)
    for attribute in csr.subject:
        if attribute.oid != NameOID.ORGANIZATION_NAME or attribute.value:
            raise BadCsr("CSR has a subject")
    if other := [e.oid.dotted_string for e in csr.extensions if e.oid not in _ALLOWED]:
        raise BadCsr(f"CSR has the extension {other[0]}")
    for name in _names(csr):
        if not isinstance(name, x509.UniformResourceIdentifier):
            raise BadCsr(f"CSR has a SAN of kind {type(name).__name__}")
        if name.value not in identities:
            raise BadCsr("CSR has a SAN that is not the caller's identity")


def _names(csr: x509.CertificateSigningRequest) -> Sequence[x509.GeneralName]:
    try:
        found = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    names = list(found.value)
    if sum(isinstance(name, x509.UniformResourceIdentifier) for name in names) > 1:
        raise BadCsr("CSR has more than one URI SAN")
    return names


@dataclass(frozen=True)
class ExternalChain:
    """What a signer answered, sorted: the leaf, what is between it and the roots, and the roots.

    ``identities`` are the leaf's URI SANs.
    """

    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    identities: tuple[str, ...]

    @property
    def intermediates_pem(self) -> tuple[str, ...]:
        """Each apart."""
        return tuple(map(pem, self.intermediates))

    @property
    def roots_pem(self) -> str:
        """The trust bundle."""
        return pem_of(self.roots)


def external_chain(
    answer: bytes, roots: Sequence[x509.Certificate], csr_pem: bytes, identities: Sequence[str]
) -> ExternalChain:
    """Take apart what a signer answered; its self-signed tail is the root if none is known.

    Raises SigningFailed unless the leaf is for the CSR's key and the caller, and leads to a root.
    """
    try:
        leaf, *above = certificates(answer)
    except ValueError as error:
        raise SigningFailed("signer: answer is no PEM of certificates") from error
    if leaf.public_key() != x509.load_pem_x509_csr(csr_pem).public_key():
        raise SigningFailed("signer: the certificate is for another key")
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise SigningFailed("signer: the certificate has no SAN") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if not uris or not set(uris) <= set(identities):
        raise SigningFailed(f"signer: the certificate is for {', '.join(uris) or 'nobody'}")
    tail = tuple(each for each in above[-1:] if each.issuer == each.subject)
    trusted = tuple(roots) or tail
    between = tuple(each for each in above if each not in trusted)
    top = (leaf, *between)[-1]
    if not any(issued_by(top, root) for root in trusted):
        raise SigningFailed("signer: no root that is known vouches for the certificate")
    return ExternalChain(leaf, between, trusted, tuple(uris))


def roots_by_signer(
    entries: Iterable[MeshConfig.CertificateData],
) -> Mapping[str, tuple[x509.Certificate, ...]]:
    """The roots that the mesh settings name for each signer; what is no PEM is left out.

    Galley refuses such settings; these may be older than its rule.
    """
    found: dict[str, tuple[x509.Certificate, ...]] = {}
    for entry in entries:
        try:
            roots = certificates(entry.pem)
        except ValueError:
            continue
        for signer in entry.cert_signers if roots else ():
            found[signer] = (*found.get(signer, ()), *roots)
    return found


def signer_name(fixed: str, domain: str, wished: str) -> str:
    """The signer of a call: ``K8S_SIGNER``, or ``CERT_SIGNER_DOMAIN/CertSigner``.

    Raises SigningFailed if the caller has to name one and does not.
    """
    if not domain:
        return fixed
    if wished and "/" not in wished:
        return f"{domain}/{wished}"
    if fixed:
        return fixed
    raise SigningFailed(f"signer {wished!r}: want the name of a signer of {domain}")
