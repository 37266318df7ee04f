"""Runs the whole demonstration: start, every claim, report, removal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc.aio

from mast.cli.demo import access, operations, policy, routing, samples, security, trust
from mast.cli.demo.stage import Stage
from mast.cli.errors import CommandError
from mast.cli.local import fleet
from mast.cli.local import mesh as meshes
from mast.cli.local.home import Home

Progress = Callable[[str], None]
CLAIM_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement, what was measured, whether it held, and how long that took."""

    claim: str
    evidence: str
    ok: bool
    seconds: float


SCRIPT: Sequence[tuple[str, Callable[[Stage], Awaitable[tuple[str, bool]]]]] = (
    ("services find each other by name", routing.discovery),
    ("a canary gets 10 % of the traffic", routing.canary),
    ("an A/B test chooses by header", routing.header_routing),
    ("a live change is propagated at once", routing.live_change),
    ("delays and errors are injected", routing.faults),
    ("calls time out and are retried", routing.timeout_and_retry),
    ("a failing instance is ejected", routing.circuit_breaker),
    ("plain text is upgraded to mutual TLS", security.mutual_tls),
    ("users are known by their tokens", access.tokens),
    ("a policy says who may call", access.modern),
    ("so do roles of Istio 1.4", access.legacy),
    ("access is denied by a Mixer rule", policy.denied_by_rule),
    ("access is denied by a list", policy.denied_by_list),
    ("proxies remember verdicts of Mixer", policy.cached),
    ("a quota is exact and answers 429", policy.quota),
    ("an adapter of one's own decides", policy.out_of_process),
    ("telemetry counts every request", operations.telemetry),
    # Citadel believes what a Pilot says of its proxies after half a minute.
    ("a new root replaces the old one", trust.new_root),
    ("the control plane may be killed", operations.survives),
)


def home() -> Home:
    """The demonstration's own state directory, so that it never meets the user's own mesh."""
    chosen = Home.default().root
    return Home(chosen.with_name(f"{chosen.name}-demo"))


@asynccontextmanager
async def stage(
    at: Home, mode: str, now: datetime, say: Progress, keep: bool
) -> AsyncIterator[Stage]:
    """The mesh with bookinfo in it; everything is removed on exit unless ``keep``."""
    kept = False
    try:
        mesh = await meshes.start(at, mode, now, say)
        scratch = _scratch(at)
        say("starting bookinfo: eight programs, each with its own Envoy")
        await fleet.launch(at, samples.workloads(scratch))
        yield Stage(at, mesh, samples.bookinfo(), scratch)
        kept = keep
    finally:
        if not kept:
            say("removing everything")
            await asyncio.shield(meshes.remove(at))


def _scratch(at: Home) -> Path:
    """Where the programs, which run as the user behind sudo, may make files."""
    scratch = at.path("scratch")
    scratch.mkdir(mode=0o755)
    if "SUDO_UID" in os.environ:
        os.chown(scratch, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
    return scratch


async def perform(on: Stage, say: Callable[[int, str], None]) -> list[Claim]:
    """Show every claim; one that breaks down is reported as not held, the rest goes on."""
    claims = []
    clock = asyncio.get_running_loop().time
    for number, (text, show) in enumerate(SCRIPT, 1):
        say(number, text)
        began = clock()
        try:
            async with asyncio.timeout(CLAIM_SECONDS):
                evidence, ok = await show(on)
        except* (CommandError, grpc.aio.AioRpcError, OSError, TimeoutError) as failures:
            error = _first(failures)
            evidence, ok = f"it broke down: {type(error).__name__}: {error}", False
        claims.append(Claim(text, evidence, ok, round(clock() - began, 1)))
    return claims


def _first(failures: BaseExceptionGroup[Exception]) -> BaseException:
    """The first of the errors of a group, which may hold groups."""
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
