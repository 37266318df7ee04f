"""Where Citadel's own certificate comes from (``PILOT_CERT_PROVIDER``, A2; wiring, with main).

Section numbers are those of citadel-and-agent.md.
"""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from mast.citadel.api.server_certificate import (
    KeyAndChain,
    ServerCertificates,
    first_of,
    signed_elsewhere,
    signed_here,
)
from mast.citadel.callers import kubernetes_access
from mast.citadel.config import Config
from mast.citadel.core.authority import Authority
from mast.citadel.core.identity import server_names
from mast.citadel.core.keys import load_private_key
from mast.citadel.store.kubernetes_signer import KubernetesSigner
from mast.common.identity.spiffe import trust_domain
from mast.common.kubernetes import connect

ISTIOD = "istiod"
CUSTOM = "custom"
SIGNER = "k8s.io/"

_FILES_LOOKED_AT_EVERY = timedelta(seconds=1)


@asynccontextmanager
async def server_certificates(
    config: Config, now: Callable[[], datetime]
) -> AsyncIterator[ServerCertificates]:
    """What makes Citadel's own certificates, as ``--cert-provider`` says.

    Raises ValueError or InvalidAccess for settings that cannot work.
    """
    names = own_names(config)
    aliases = tuple(map(trust_domain, config.trust_domain_aliases))
    making = partial(ServerCertificates, aliases=aliases, now=now)
    if config.cert_provider == ISTIOD:
        yield making(make=signed_here(names, now, secrets.token_bytes))
    elif config.cert_provider == CUSTOM:
        files = CertificateFiles(config.cert_dir)
        yield making(make=files.read, changed=files.changed, checked_every=_FILES_LOOKED_AT_EVERY)
    elif config.cert_provider.startswith(SIGNER):
        access = kubernetes_access(config)
        if access is None:
            raise ValueError(f"cert provider {config.cert_provider}: want --kubeconfig")
        async with connect(access) as api:
            signer = KubernetesSigner(api, secrets.token_bytes)
            name = config.cert_provider.removeprefix(SIGNER)
            sign = partial(_sign, signer, name)
            yield making(make=signed_elsewhere(names, sign, config.max_workload_cert_ttl))
    else:
        raise ValueError(
            f"cert provider {config.cert_provider!r}: want {ISTIOD}, {CUSTOM} or {SIGNER}SIGNER"
        )


async def _sign(signer: KubernetesSigner, name: str, csr_pem: bytes, ttl: timedelta) -> bytes:
    return await signer.sign(csr_pem, name, ttl)


def own_names(config: Config) -> tuple[str, ...]:
    """The names of Citadel's own certificate."""
    host = config.listen.rpartition(":")[0].strip("[]")
    concrete = () if host in {"", "0.0.0.0", "::"} else (host,)  # noqa: S104
    return server_names(config.namespace, config.revision, (*config.server_names, *concrete))


@dataclass
class CertificateFiles:
    """``tls.crt`` and ``tls.key`` in a directory; taken up when both have changed together."""

    directory: Path
    _read: tuple[bytes, bytes] | None = field(default=None, init=False)

    async def read(self, _: Authority) -> KeyAndChain:
        """What the files hold; ValueError unless the key is that of the certificate."""
        chain, key = self._contents()
        certificate = first_of(chain)
        if load_private_key(key).public_key() != certificate.public_key():
            raise ValueError(f"{self.directory}: tls.key is not the key of tls.crt")
        self._read = (chain, key)
        return KeyAndChain(chain, key, datetime.max.replace(tzinfo=UTC))

    def changed(self) -> bool:
        """Whether the files hold something else than what was read last."""
        try:
            return self._contents() != self._read
        except OSError:
            return False  # they are being replaced

    def _contents(self) -> tuple[bytes, bytes]:
        return (self.directory / "tls.crt").read_bytes(), (self.directory / "tls.key").read_bytes()
