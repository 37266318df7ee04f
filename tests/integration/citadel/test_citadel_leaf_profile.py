"""The leaf as OpenSSL reads and verifies it (citadel-and-agent.md A2, D1)."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mast.citadel.core.authority import Authority, self_signed
from mast.citadel.core.csr import read_csr
from mast.citadel.core.leaf import TtlPolicy, serial_number
from mast.common.identity.ca_client import Algorithm, new_key_and_csr, new_private_key
from tests.support.pki import pem as pem_of
from tests.support.pki import wall_clock

ME = "spiffe://cluster.local/ns/shop/sa/reviews"
HOUR = timedelta(hours=1)


def openssl(*arguments: str | Path, stdin: str = "") -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=["P256", "P384", "RSA2048"])
def authority(request: pytest.FixtureRequest) -> Authority:
    slot = self_signed(
        "cluster.local",
        new_private_key(request.param),
        now=wall_clock(),
        ttl=timedelta(days=3650),
        serial=serial_number(b"\xf0" * 16),
    )
    return Authority("cluster.local", (slot,))


@pytest.mark.parametrize("algorithm", ["P256", "P384", "RSA2048"])
def test_openssl_reads_what_a2_says_and_verifies_it(
    authority: Authority, algorithm: Algorithm, tmp_path: Path
) -> None:
    begun = wall_clock()
    key, csr = new_key_and_csr("spiffe://evil/ns/x/sa/y", algorithm)
    leaf = authority.issue(
        read_csr(csr),
        (ME,),
        HOUR,
        policy=TtlPolicy(),
        now=begun,
        serial=serial_number(b"\xab" * 16),
    )
    pem, roots, key_file = tmp_path / "leaf.pem", tmp_path / "roots.pem", tmp_path / "key.pem"
    pem.write_bytes(pem_of(leaf))
    roots.write_text(authority.roots_pem)
    key_file.write_bytes(key)

    text = openssl("x509", "-in", pem, "-noout", "-text")
    assert "Version: 3 (0x2)" in text
    assert "ab:" * 15 + "ab" in text
    assert re.search(r"Subject: *\n", text)
    assert "Issuer: O = cluster.local" in text
    assert extension(text, "Key Usage: critical") == "Digital Signature, Key Encipherment"
    assert extension(text, "Extended Key Usage:") == (
        "TLS Web Server Authentication, TLS Web Client Authentication"
    )
    assert extension(text, "Basic Constraints: critical") == "CA:FALSE"
    assert extension(text, "Subject Alternative Name: critical") == f"URI:{ME}"
    assert "Subject Key Identifier" not in text
    signer = openssl("x509", "-noout", "-ext", "subjectKeyIdentifier", stdin=authority.roots_pem)
    key_id = signer.strip().splitlines()[-1].strip()
    assert extension(text, "Authority Key Identifier:") == key_id
    expected = {"P256": "ecdsa-with-SHA256", "P384": "ecdsa-with-SHA384"}
    signed_with = expected.get(curve_of(authority), "sha256WithRSAEncryption")
    assert f"Signature Algorithm: {signed_with}" in text
    assert date(text, "Not Before") == begun.replace(microsecond=0) - timedelta(minutes=2)
    assert date(text, "Not After ") == begun.replace(microsecond=0) + HOUR

    for purpose in ("sslserver", "sslclient"):
        openssl("verify", "-purpose", purpose, "-CAfile", roots, pem)
    public = openssl("pkey", "-in", key_file, "-pubout")
    assert openssl("x509", "-in", pem, "-noout", "-pubkey") == public


def test_openssl_accepts_the_root_strictly(authority: Authority, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_text(authority.roots_pem)
    openssl("verify", "-x509_strict", "-CAfile", root, root)
    text = openssl("x509", "-in", root, "-noout", "-text")
    assert extension(text, "Basic Constraints: critical") == "CA:TRUE"
    assert extension(text, "Key Usage: critical") == "Certificate Sign, CRL Sign"


def extension(text: str, title: str) -> str:
    """The line below an extension's title."""
    found = re.search(rf"X509v3 {re.escape(title)} *\n *(.*?) *\n", text)
    assert found, text
    return found[1]


def date(text: str, title: str) -> datetime:
    found = re.search(rf"{title}: *(.*) GMT", text)
    assert found, text
    return datetime.strptime(found[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)


def curve_of(authority: Authority) -> str:
    key = authority.active.key
    return {256: "P256", 384: "P384"}.get(key.key_size, "RSA")
