"""Secrets of a proxy: certificates and roots, and how long they hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.cli.inspect.dump import Dump
from mast.cli.inspect.tables import Table
from mast.pilot.core.xds.redaction import redact

SECRET_COLUMNS: Final = (
    "RESOURCE NAME",
    "TYPE",
    "STATUS",
    "VALID CERT",
    "SERIAL NUMBER",
    "NOT AFTER",
    "NOT BEFORE",
)


def secrets(dump: Dump, now: datetime) -> Table:
    """One row per certificate, the leaf of a chain or each root; by name. Keys are left out."""
    table = Table(SECRET_COLUMNS)
    for held in sorted(dump.secrets, key=lambda each: (each.secret.name, not each.active)):
        secret = without_keys(held.secret)
        start = [secret.name, _kind(secret), "ACTIVE" if held.active else "WARMING"]
        found = certificates(secret)
        rows = [[*start, *_facts(each, now)] for each in found]
        table.add(secret, *(rows or [[*start, "false", "-", "-", "-"]]))
    return table


def roots(dump: Dump) -> frozenset[bytes]:
    """The roots by which the proxy knows others, as DER; none if it holds none."""
    return frozenset(
        each.public_bytes(Encoding.DER)
        for held in dump.secrets
        if held.secret.HasField("validation_context")
        for each in certificates(held.secret)
    )


def without_keys(secret: Secret) -> Secret:
    """The secret with a word in place of what is private."""
    made = Secret()
    made.CopyFrom(secret)
    redact(made)
    return made


def certificates(secret: Secret) -> list[x509.Certificate]:
    """The leaf of a certificate chain, or all roots; nothing if they cannot be read."""
    roots = secret.HasField("validation_context")
    source = (
        secret.validation_context.trusted_ca if roots else secret.tls_certificate.certificate_chain
    )
    try:
        found = x509.load_pem_x509_certificates(_content(source))
    except ValueError:
        return []
    return found if roots else found[:1]


def _kind(secret: Secret) -> str:
    kind = secret.WhichOneof("type")
    return {"validation_context": "CA", "tls_certificate": "Cert Chain"}.get(kind or "", "-")


def _content(source: DataSource) -> bytes:
    return source.inline_bytes or source.inline_string.encode()


def _facts(certificate: x509.Certificate, now: datetime) -> tuple[str, str, str, str]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    valid = "true" if begin <= now <= end else "false"
    return valid, f"{certificate.serial_number:x}", _text(end), _text(begin)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
