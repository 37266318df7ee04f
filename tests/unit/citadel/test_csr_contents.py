"""Nothing in a CSR but its key, and whether a CN exists, matters (citadel-and-agent.md A2, D2)."""

from __future__ import annotations

import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from mast.citadel.core.csr import read_csr
from mast.citadel.core.leaf import TtlPolicy
from tests.unit.citadel.examples import HOUR, ME, NOW, authority, private_key

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
HOST = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
NAMES = st.one_of(
    HOST.map(x509.DNSName),
    HOST.map(lambda host: x509.UniformResourceIdentifier(f"spiffe://cluster.local/ns/a/sa/{host}")),
    HOST.map(lambda host: x509.RFC822Name(f"root@{host}")),
    st.ip_addresses().map(lambda ip: x509.IPAddress(ipaddress.ip_address(ip))),
)
ATTRIBUTES = st.builds(
    x509.NameAttribute,
    st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.SERIAL_NUMBER]),
    st.text("abc /=,+", min_size=1, max_size=40),
)
EXTENSIONS = st.lists(
    st.sampled_from(
        [
            x509.BasicConstraints(ca=True, path_length=None),
            x509.KeyUsage(False, False, False, False, False, True, True, False, False),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"),
        ]
    ),
    unique_by=lambda extension: extension.oid,
)
KEY = private_key("P256")
AUTHORITY = authority()


def contents(certificate: x509.Certificate) -> bytes:
    """All that was signed, less the subject, which is compared apart."""
    return b"".join(e.value.public_bytes() + bytes([e.critical]) for e in certificate.extensions)


@given(st.lists(NAMES, max_size=4), st.lists(ATTRIBUTES, max_size=3), EXTENSIONS, st.booleans())
def test_certificate_depends_on_the_key_only(
    names: list[x509.GeneralName],
    attributes: list[x509.NameAttribute[str]],
    extensions: list[x509.ExtensionType],
    critical: bool,
) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=critical)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=critical)
    csr = read_csr(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM))

    assert csr.public_key == KEY.public_key()
    assert csr.has_san is bool(names)
    assert csr.has_common_name is any(a.oid == NameOID.COMMON_NAME for a in attributes)
    leaf = AUTHORITY.issue(csr, (ME,), HOUR, policy=TtlPolicy(), now=NOW, serial=1)
    assert list(leaf.subject) == []
    assert contents(leaf) == EXPECTED


def plain_csr() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


EXPECTED = contents(
    AUTHORITY.issue(read_csr(plain_csr()), (ME,), HOUR, policy=TtlPolicy(), now=NOW, serial=1)
)
