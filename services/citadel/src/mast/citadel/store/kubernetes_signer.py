"""Certificates by the signers of a Kubernetes cluster: its CSR API (A7).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from mast.citadel.core.refusals import SigningFailed
from mast.common.kubernetes import Api, ApiFailure, Object
from mast.common.kubernetes.objects import CERTIFICATE_SIGNING_REQUESTS as REQUESTS

log = structlog.get_logger()

USAGES = ("digital signature", "key encipherment", "server auth", "client auth")
NAME = "csr-workload-"
# What the API takes (CertificateSigningRequestSpec, "expirationSeconds").
_SHORTEST = timedelta(minutes=10)
_POLL = timedelta(milliseconds=100)
_SLOWEST_POLL = timedelta(seconds=1)


@dataclass(frozen=True)
class KubernetesSigner:
    """Creates a request, approves it, waits for the certificate, deletes the request."""

    api: Api
    entropy: Callable[[int], bytes]
    patience: timedelta = timedelta(seconds=60)

    async def sign(self, csr_pem: bytes, signer: str, ttl: timedelta) -> bytes:
        """The certificate and what the signer put behind it, PEM; SigningFailed says why not."""
        name = NAME + self.entropy(10).hex()
        body: Object = {
            "metadata": {"name": name},
            "spec": {
                "request": base64.b64encode(csr_pem).decode(),
                "signerName": signer,
                "usages": list(USAGES),
                "expirationSeconds": int(max(ttl, _SHORTEST).total_seconds()),
            },
        }
        try:
            created = await self.api.create(REQUESTS, body)
        except ApiFailure as error:
            raise SigningFailed(f"signing request: {error}") from error
        try:
            await self._approve(created)
            async with asyncio.timeout(self.patience.total_seconds()):
                return await self._certificate(name)
        except ApiFailure as error:
            raise SigningFailed(f"signing request {name}: {error}") from error
        except TimeoutError as error:
            raise SigningFailed(f"signing request {name}: {signer} did not answer") from error
        finally:
            with suppress(ApiFailure):
                await self.api.delete(REQUESTS, name)

    async def _approve(self, created: Object) -> None:
        condition = {
            "type": "Approved",
            "status": "True",
            "reason": "MastCitadel",
            "message": "The workload was authenticated by Citadel.",
        }
        approved = {**created, "status": {"conditions": [condition]}}
        await self.api.update(REQUESTS, approved, subresource="approval")

    async def _certificate(self, name: str) -> bytes:
        pause = _POLL
        while True:
            status = (await self.api.get(REQUESTS, name)).get("status") or {}
            for condition in status.get("conditions") or ():
                if condition.get("type") in ("Denied", "Failed"):
                    reason = condition.get("message") or condition.get("reason")
                    raise SigningFailed(f"signing request: {condition['type']}: {reason}")
            if certificate := status.get("certificate"):
                try:
                    return base64.b64decode(str(certificate), validate=True)
                except binascii.Error as error:
                    raise SigningFailed("signing request: certificate is no base64") from error
            await asyncio.sleep(pause.total_seconds())
            pause = min(2 * pause, _SLOWEST_POLL)
