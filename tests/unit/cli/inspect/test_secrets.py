"""Columns of secrets; keys never show."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.cli.inspect.dump import read
from mast.cli.inspect.secrets import secrets, without_keys
from tests.support.envoy_dumps import configuration, dump_of

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def certificate(serial: int) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    made = x509.CertificateBuilder(name, name, key.public_key(), serial)
    made = made.not_valid_before(BEGIN).not_valid_after(BEGIN + timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def leaf(pem: bytes) -> Secret:
    made = Secret(name="default")
    made.tls_certificate.certificate_chain.inline_bytes = pem
    made.tls_certificate.private_key.inline_string = "PRIVATE"
    return made


def roots(pem: bytes) -> Secret:
    made = Secret(name="ROOTCA")
    made.validation_context.trusted_ca.inline_string = pem.decode()
    return made


def test_rows() -> None:
    chain = certificate(0xAB) + certificate(1)
    text = dump_of(configuration(), leaf(chain), roots(chain), warming="late")
    dates = ["2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z"]
    assert secrets(read(text), BEGIN + timedelta(hours=1)).rows == [
        ["ROOTCA", "CA", "ACTIVE", "true", "ab", *dates],
        ["ROOTCA", "CA", "ACTIVE", "true", "1", *dates],
        ["default", "Cert Chain", "ACTIVE", "true", "ab", *dates],
        ["late", "-", "WARMING", "false", "-", "-", "-"],
    ]
    expired = secrets(read(text), BEGIN + timedelta(days=2)).rows
    assert [row[3] for row in expired] == ["false"] * 4


def test_unreadable_certificates_are_not_valid() -> None:
    found = secrets(read(dump_of(configuration(), leaf(b"nonsense"))), BEGIN)
    assert found.rows == [["default", "Cert Chain", "ACTIVE", "false", "-", "-", "-"]]


def test_keys_are_left_out() -> None:
    text = dump_of(configuration(), leaf(certificate(1)))
    assert "PRIVATE" in text
    assert "PRIVATE" not in json.dumps(secrets(read(text), BEGIN).data)
    other = Secret(name="more", generic_secret={"secret": {"inline_string": "PRIVATE"}})
    tickets = Secret(name="t", session_ticket_keys={"keys": [{"inline_string": "PRIVATE"}]})
    for each in (other, tickets):
        assert b"PRIVATE" not in without_keys(each).SerializeToString()
