"""The secrets a proxy would be given, by SDS name, from Secrets and ConfigMaps of files.

Private keys are left out: what is printed ends up in tickets and repositories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as EnvoySecret

from mast.cli.offline.documents import Secret
from mast.pilot.core.names import SDS_CA_SUFFIX

REDACTED: Final = "[redacted]"

_CHAINS: Final = ("tls.crt", "cert")
_KEYS: Final = ("tls.key", "key")
_ROOTS: Final = ("ca.crt", "cacert")
_LISTS: Final = ("ca.crl", "crl")
_STAPLES: Final = ("tls.ocsp-staple",)
_SCHEMES: Final = ("kubernetes://", "kubernetes-gateway://", "configmap://")

Secrets = Mapping[tuple[str, str], Secret]


def secret(name: str, namespace: str, known: Secrets) -> EnvoySecret:
    """The secret of an SDS name for a proxy of a namespace; only its name if no file holds it."""
    made = EnvoySecret(name=name)
    scheme = next((each for each in _SCHEMES if name.startswith(each)), "")
    if not scheme:
        return made
    where, _, wanted = name.removeprefix(scheme).rpartition("/")
    if scheme == "configmap://" or wanted.endswith(SDS_CA_SUFFIX):
        _add_roots(made, where or namespace, wanted, known, config_map=scheme == "configmap://")
    elif (found := known.get((where or namespace, wanted))) is not None and not found.config_map:
        _add_certificate(made, found)
    return made


def _add_certificate(made: EnvoySecret, found: Secret) -> None:
    chain, key = _first(found, _CHAINS), _first(found, _KEYS)
    if chain is None or key is None:
        return
    made.tls_certificate.certificate_chain.inline_bytes = chain
    made.tls_certificate.private_key.inline_string = REDACTED
    if (staple := _first(found, _STAPLES)) is not None:
        made.tls_certificate.ocsp_staple.inline_bytes = staple


def _add_roots(
    made: EnvoySecret, namespace: str, wanted: str, known: Secrets, *, config_map: bool
) -> None:
    """Roots from a secret of their own, or from the one that holds the certificate (I5)."""
    for name in (wanted, wanted.removesuffix(SDS_CA_SUFFIX)):
        found = known.get((namespace, name))
        if found is not None and found.config_map == config_map:
            for roots in _roots(found):
                made.validation_context.trusted_ca.inline_bytes = roots
                if (revoked := _first(found, _LISTS)) is not None:
                    made.validation_context.crl.inline_bytes = revoked
                return


def _roots(found: Secret) -> Iterator[bytes]:
    if (roots := _first(found, _ROOTS)) is not None:
        yield roots


def _first(found: Secret, keys: tuple[str, ...]) -> bytes | None:
    return next((found.data[key] for key in keys if key in found.data), None)
