"""Proof for a probe that certificates can be signed: a file that is touched (A10).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

import structlog

from mast.citadel.api.signing import Order, Signing
from mast.citadel.core.csr import read_csr
from mast.citadel.core.refusals import Refusal
from mast.common.identity.ca_client import new_key_and_csr

log = structlog.get_logger()

NAME = "k8s.cluster.local"
"""Whom the probe's certificate is for; it is thrown away."""


async def prove_liveness(signing: Signing, file: Path, interval: timedelta) -> None:
    """Touch ``file`` every ``interval`` as long as a CSR can be signed; for ever."""
    _, csr_pem = new_key_and_csr(f"spiffe://{NAME}")
    order = Order(read_csr(csr_pem), csr_pem, (NAME,), timedelta(minutes=1))
    while True:
        try:
            await signing.sign(order)
        except Refusal as refusal:
            log.error("liveness.failed", reason=refusal.reason)
        else:
            await asyncio.to_thread(_touch, file)
        await asyncio.sleep(interval.total_seconds())


def _touch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
