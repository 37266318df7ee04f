"""Names, messages and bundles of secrets (citadel-and-agent.md B3)."""

from __future__ import annotations

import pytest

from mast.agent.core import secrets
from mast.agent.core.secrets import CertificateFiles, RootFile, SecretName, UnknownSecret
from tests.support.pki import Ca


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("default", "default"),
        ("ROOTCA", "ROOTCA"),
        ("file-cert:/c.pem~/k.pem", CertificateFiles("/c.pem", "/k.pem")),
        ("file-root:./ca.pem", RootFile("./ca.pem")),
        ("file-root:system", RootFile("/etc/ssl/certs/ca-certificates.crt")),
        ("file-root:/ca.pem~/crl.pem", RootFile("/ca.pem", "/crl.pem")),
    ],
)
def test_names(text: str, name: SecretName) -> None:
    assert secrets.secret_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Default",
        "kubernetes://shop/x",
        "sds://x",
        "file-cert:/c.pem",
        "file-cert:~/k.pem",
        "file-root:",
    ],
)
def test_foreign_names(text: str) -> None:
    with pytest.raises(UnknownSecret, match="want default, ROOTCA"):
        secrets.secret_name(text)


def test_messages() -> None:
    pair = secrets.certificate("default", b"chain", b"key")
    assert pair.tls_certificate.certificate_chain.inline_bytes == b"chain"
    assert pair.tls_certificate.private_key.inline_bytes == b"key"
    plain = secrets.validation("ROOTCA", b"roots")
    assert plain.validation_context.trusted_ca.inline_bytes == b"roots"
    assert not plain.validation_context.HasField("crl")
    assert secrets.validation("ROOTCA", b"r", b"crl").validation_context.crl.inline_bytes == b"crl"


def test_versions_follow_content() -> None:
    first = secrets.certificate("default", b"chain", b"key")
    assert secrets.version(first) == secrets.version(
        secrets.certificate("default", b"chain", b"key")
    )
    assert secrets.version(first) != secrets.version(
        secrets.certificate("default", b"chain", b"k2")
    )


def test_bundle() -> None:
    """Each certificate once, whatever surrounds it, in the same order from any order."""
    first, second = Ca.root("first").pem, Ca.root("second").pem
    noisy = b"subject=first\r\n" + first.replace(b"\n", b"\r\n") + b"\n\n"
    one = secrets.bundle([first, second])
    assert one == secrets.bundle([second + noisy, b"", first])
    assert one.count(b"BEGIN CERTIFICATE") == 2
    assert secrets.bundle([first]) == first
    assert secrets.bundle([b"nothing"]) == b""
