"""What is noted of a certificate that was issued (citadel-and-agent.md A12)."""

from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from mast.citadel.core.keys import PublicKey
from mast.common.keys import CA
from mastapi.citadel.v1 import issued_pb2

PREFIX = f"{CA}issued/"
DEFAULT_LIMIT = 1000


def issued(
    leaf: x509.Certificate,
    names: Iterable[str],
    key: PublicKey,
    *,
    authenticator: str,
    peer: str,
    caller: str = "",
) -> issued_pb2.IssuedCertificate:
    """The record of a leaf for these names and this key."""
    record = issued_pb2.IssuedCertificate(
        serial=f"{leaf.serial_number:x}",
        names=names,
        authenticator=authenticator,
        peer=peer,
        caller=caller,
        key=_kind(key),
        issuer=leaf.issuer.rfc4514_string(),
    )
    record.not_before.FromDatetime(leaf.not_valid_before_utc)
    record.not_after.FromDatetime(leaf.not_valid_after_utc)
    return record


def issued_key(record: issued_pb2.IssuedCertificate) -> str:
    """Where a record is stored."""
    return PREFIX + record.serial


def selected(
    records: Iterable[issued_pb2.IssuedCertificate], identity: str, serial: str, limit: int
) -> tuple[list[issued_pb2.IssuedCertificate], int]:
    """The newest of the records that are meant, and how many more there are.

    ``identity`` is a SAN, or the beginning of one and ``*``; "" means any, as for ``serial``.
    """
    wanted = serial.lower().replace(":", "").lstrip("0")
    found = [
        record for record in records if _has(record, identity) and wanted in ("", record.serial)
    ]
    found.sort(key=lambda record: (record.not_before.ToNanoseconds(), record.serial), reverse=True)
    most = limit or DEFAULT_LIMIT
    return found[:most], max(0, len(found) - most)


def _has(record: issued_pb2.IssuedCertificate, identity: str) -> bool:
    if identity.endswith("*"):
        return any(name.startswith(identity[:-1]) for name in record.names)
    return not identity or identity in record.names


def _kind(key: PublicKey) -> str:
    rsa_key = isinstance(key, rsa.RSAPublicKey)
    return f"RSA {key.key_size}" if rsa_key else f"P-{key.key_size}"
