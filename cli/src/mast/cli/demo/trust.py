"""The claim about trust itself: a new root certificate, while everybody works."""

from __future__ import annotations

import re

import grpc
import grpc.aio

from mast.cli.connect import citadel_admin
from mast.cli.demo.stage import Answer, Stage
from mastapi.citadel.v1 import citadel_pb2
from mastapi.citadel.v1.citadel_pb2 import Authorities
from mastapi.citadel.v1.citadel_pb2_grpc import CitadelAdminStub

DETAILS = "http://details:9080/details/0"
_HASH = re.compile(r"Hash=([0-9a-f]+)")
_SECONDS = 10

Verdict = tuple[str, bool]


async def new_root(stage: Stage) -> Verdict:
    """A root is made known, signs, and replaces the old one under traffic; no request fails."""
    first = _certificate(await stage.one(DETAILS))
    async with (
        stage.traffic(DETAILS, concurrency=8, interval_ms=25) as answers,
        citadel_admin(stage.mesh) as citadel,
    ):
        before, after, second = await _replaced(stage, citadel, first)
    failed = sum(answer.status != 200 for answer in answers)
    old, new = ({each.id for each in found.slots} for found in (before, after))
    evidence = (
        f"root {_short(old)} replaced by {_short(new)}, the caller's certificate "
        f"{_short({first})} by {_short({second})}: {len(answers)} requests, {failed} failed"
    )
    return evidence, failed == 0 and not old & new and second not in {first, ""}


async def _replaced(
    stage: Stage, citadel: CitadelAdminStub, first: str
) -> tuple[Authorities, Authorities, str]:
    """The authorities before and after, and the new certificate of the caller, waited for last."""
    before = await citadel.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=_SECONDS)
    await citadel.PrepareAuthority(citadel_pb2.PrepareAuthorityRequest(), timeout=_SECONDS)
    await stage.until(lambda: _activated(citadel), seconds=45, pause=0.2)
    await citadel.TaintAuthority(citadel_pb2.TaintAuthorityRequest(), timeout=_SECONDS)

    second = first

    async def renewed() -> bool:
        nonlocal second
        found = await citadel.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=_SECONDS)
        second = _certificate(await stage.one(DETAILS))
        return len(found.slots) == 1 and second not in {first, ""}

    await stage.until(renewed, seconds=45, pause=0.2)
    after = await citadel.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=_SECONDS)
    return before, after, second


async def _activated(citadel: CitadelAdminStub) -> bool:
    """Whether the new root signs now; Citadel refuses while parts of the mesh do not trust it."""
    try:
        await citadel.ActivateAuthority(citadel_pb2.ActivateAuthorityRequest(), timeout=_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            raise
        return False
    return True


def _certificate(answer: Answer) -> str:
    """The fingerprint of the caller's certificate, as the server's proxy saw it."""
    found = _HASH.search(str(answer.document.get("caller")))
    return found[1] if found else ""


def _short(ids: set[str]) -> str:
    return ", ".join(sorted(each[:8] for each in ids))
