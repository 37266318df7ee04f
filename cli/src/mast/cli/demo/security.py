"""Claims about identity: mutual TLS."""

from __future__ import annotations

import asyncio
import re

import aiohttp

from mast.cli.demo.stage import Answer, Stage

DETAILS = "http://details:9080/details/0"
_IDENTITY = re.compile(r"(By|URI)=(spiffe://[^;,]+)")

Verdict = tuple[str, bool]


async def mutual_tls(stage: Stage) -> Verdict:
    """Plain text becomes mutual TLS under live traffic, then plain text is refused."""
    await stage.apply("networking/details-plaintext.yaml")

    async def plain() -> bool:
        return (await stage.one(DETAILS)).document.get("caller") is None

    await stage.until(plain)
    await stage.settled()
    async with stage.traffic(DETAILS, concurrency=4, interval_ms=10) as answers:
        await asyncio.sleep(0.5)
        await stage.until(plain)
        outside_before = await _outside(stage)
        await stage.delete("networking/details-plaintext.yaml")

        async def secure() -> bool:
            return (await stage.one(DETAILS)).document.get("caller") is not None

        await stage.until(secure)
        await stage.settled()
        await stage.apply("networking/strict-mtls.yaml")

        async def refused() -> bool:
            return await _outside(stage) == "refused"

        strict = await stage.until(refused)
        await stage.settled()
    await stage.delete("networking/strict-mtls.yaml")
    await stage.settled()
    secured = [a for a in answers if a.document.get("caller")]
    failed = sum(a.status != 200 for a in answers)
    identities = _identities(secured[-1]) if secured else {}
    evidence = (
        f"{len(answers) - len(secured) - failed} requests in plain text, then {len(secured)} with "
        f"certificates, {failed} failed; {identities.get('URI', '?')} -> "
        f"{identities.get('By', '?')}; from outside the mesh: {outside_before}, "
        f"then {'refused' if strict else 'still accepted'}"
    )
    named = identities.get("URI", "").endswith("/ns/default/sa/bookinfo-loadgen")
    plaintext_first = bool(answers) and not answers[0].document.get("caller")
    ok = failed == 0 and named and strict and outside_before == "accepted" and plaintext_first
    return evidence, ok


def _identities(answer: Answer) -> dict[str, str]:
    return dict(_IDENTITY.findall(str(answer.document.get("caller"))))


async def _outside(stage: Stage) -> str:
    """What a program without a certificate gets when it dials the workload of details."""
    url = f"http://{stage.workload('details').address}:9080/details/0"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(url) as answer,
        ):
            return "accepted" if answer.status == 200 else f"status {answer.status}"
    except (aiohttp.ClientError, TimeoutError):
        return "refused"
