"""The CAs of the mesh for operators: commands that rotate, and what they show (A8.5)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import grpc

from mast.citadel.api.status import Context
from mast.citadel.core.authority import Slot
from mast.citadel.core.rotation import NotPossible, Overview
from mastapi.citadel.v1 import citadel_pb2

MOST_SERIAL_BITS = 160
"""RFC 5280 allows 20 octets."""


class Commands(Protocol):
    """Steps of a rotation; each gives what is then. Raise NotPossible."""

    async def overview(self) -> Overview: ...
    async def prepare(self) -> Overview: ...
    async def activate(self, name: str, *, force: bool) -> Overview: ...
    async def taint(self, name: str) -> Overview: ...
    async def revoke(self, name: str, *, force: bool) -> Overview: ...
    async def revoke_certificates(self, serials: Sequence[int], name: str) -> Overview: ...


@asynccontextmanager
async def commanding(context: Context, passing: tuple[type[Exception], ...]) -> AsyncIterator[None]:
    """End the call with the status that fits: what is ``passing`` may be tried again."""
    try:
        yield
    except NotPossible as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    except passing as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))


def serial_numbers(texts: Sequence[str]) -> list[int]:
    """Serial numbers of hexadecimal text, colons allowed; ValueError names what is wrong."""
    if not texts:
        raise ValueError("serials: must not be empty")
    found = []
    for text in texts:
        try:
            number = int(text.replace(":", ""), 16)
        except ValueError:
            number = 0
        if number <= 0 or number.bit_length() > MOST_SERIAL_BITS:
            raise ValueError(f"serial {text!r}: want a positive hexadecimal number of 160 bits")
        found.append(number)
    return found


def told(seen: Overview, *, plugged_in: bool = False) -> citadel_pb2.Authorities:
    """What operators are shown of the CAs."""
    known = seen.known
    return citadel_pb2.Authorities(
        trust_domain=seen.authority.trust_domain,
        plugged_in=plugged_in,
        slots=[_slot(slot) for slot in seen.authority.slots],
        sequence=seen.bundle.sequence,
        knowledge=citadel_pb2.Authorities.Knowledge(
            connected=known.connected,
            holding=known.holding,
            silent=known.silent,
            lagging=known.lagging,
            reporters=known.reporters,
            problem=seen.problem,
        ),
    )


def _slot(slot: Slot) -> citadel_pb2.Authorities.Slot:
    shown = citadel_pb2.Authorities.Slot(
        id=slot.id,
        state=slot.state.value,
        tainted=slot.tainted,
        key_manager=slot.key_manager,
        revoked=len(slot.revocations),
        subject=slot.subject,
    )
    shown.not_before.FromDatetime(slot.certificate.not_valid_before_utc)
    shown.not_after.FromDatetime(slot.not_after)
    if slot.retires_at is not None:
        shown.retires_at.FromDatetime(slot.retires_at)
    return shown
