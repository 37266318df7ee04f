"""What SDS serves: names of secrets, their messages, and bundles of trusted roots."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    TlsCertificate,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

CERTIFICATE: Final = "default"
ROOTS: Final = "ROOTCA"
TYPE_URL: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
SYSTEM_ROOTS: Final = "/etc/ssl/certs/ca-certificates.crt"

_BLOCK: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----"
)


class UnknownSecret(ValueError):
    """A name that this server has no secret for; says which names it has."""


@dataclass(frozen=True)
class CertificateFiles:
    """`file-cert:CHAIN~KEY`: a pair of PEM files."""

    chain: str
    key: str


@dataclass(frozen=True)
class RootFile:
    """`file-root:PATH` and `file-root:system`: a PEM bundle; `…~PATH` adds revocations to it."""

    path: str
    revocations: str = ""


Workload = str
"""`default` or `ROOTCA`: the workload's own."""

SecretName = Workload | CertificateFiles | RootFile


def secret_name(text: str) -> SecretName:
    """What a resource name stands for (citadel-and-agent.md B3). Raises UnknownSecret."""
    if text in {CERTIFICATE, ROOTS}:
        return text
    kind, _, rest = text.partition(":")
    if kind == "file-cert":
        chain, _, key = rest.partition("~")
        if chain and key:
            return CertificateFiles(chain, key)
    if kind == "file-root" and rest:
        path, _, revocations = rest.partition("~")
        return RootFile(SYSTEM_ROOTS if path == "system" else path, revocations)
    raise UnknownSecret(
        f"secret {text!r}: want default, ROOTCA, file-cert:CHAIN~KEY or file-root:PATH[~CRL]"
    )


def certificate(name: str, chain: bytes, key: bytes) -> Secret:
    """A certificate chain, leaf first, with its private key, both PEM."""
    return Secret(
        name=name,
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(inline_bytes=chain),
            private_key=DataSource(inline_bytes=key),
        ),
    )


def validation(name: str, roots: bytes, revocations: bytes = b"") -> Secret:
    """Trusted roots, and revocations if there are any, both PEM (citadel-and-agent.md B3.5)."""
    context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=roots))
    if revocations:
        context.crl.CopyFrom(DataSource(inline_bytes=revocations))
    return Secret(name=name, validation_context=context)


def version(secret: Secret) -> str:
    """A digest of the content: equal secrets have equal versions, also after a restart."""
    return blake2b(secret.SerializeToString(deterministic=True), digest_size=12).hexdigest()


def bundle(sources: Iterable[bytes]) -> bytes:
    """The certificates of several PEM texts, each once, in a stable order (B3)."""
    bodies = {b"".join(body.split()) for text in sources for body in _BLOCK.findall(text)}
    return b"".join(_pem(body) for body in sorted(bodies))


def _pem(body: bytes) -> bytes:
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])
