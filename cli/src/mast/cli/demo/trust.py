"""The claim about trust itself: a new root certificate, while everybody works."""

from __future__ import annotations

import asyncio
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
    answers: list[Answer] = []
    over = asyncio.Event()

    async def load() -> None:
        while not over.is_set():
            answers.extend(await stage.send(DETAILS, seconds=1, concurrency=4, interval_ms=10))

    async with asyncio.TaskGroup() as tasks:
        # Two, one after the other: there is always traffic.
        for _ in range(2):
            tasks.create_task(load())
        try:
            async with citadel_admin(stage.mesh) as citadel:
                before, after = await _replaced(stage, citadel, first)
        finally:
            over.set()
    failed = sum(answer.status != 200 for answer in answers)
    old, new = ({each.id for each in found.slots} for found in (before, after))
    certificates = {_certificate(answer) for answer in answers if answer.status == 200}
    evidence = (
        f"root {_short(old)} replaced by {_short(new)}: {len(answers)} requests with "
        f"{len(certificates)} certificates of the caller, {failed} failed"
    )
    return evidence, failed == 0 and not old & new and len(certificates - {first}) >= 1


async def _replaced(
    stage: Stage, citadel: CitadelAdminStub, first: str
) -> tuple[Authorities, Authorities]:
    """The authorities before and after; the last step waits until callers have new certificates."""
    before = await citadel.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=_SECONDS)
    await citadel.PrepareAuthority(citadel_pb2.PrepareAuthorityRequest(), timeout=_SECONDS)
    await stage.until(lambda: _activated(citadel), seconds=45, pause=0.5)
    await citadel.TaintAuthority(citadel_pb2.TaintAuthorityRequest(), timeout=_SECONDS)

    async def renewed() -> bool:
        found = await citadel.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=_SECONDS)
        alone = len(found.slots) == 1
        return alone and _certificate(await stage.one(DETAILS)) != first

    await stage.until(renewed, seconds=45, pause=0.5)
    after = await citadel.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=_SECONDS)
    return before, after


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
