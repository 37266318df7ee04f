"""Claims about identity and policy: mutual TLS, denial, lists, quota."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import aiohttp

from mast.cli.demo.stage import Answer, Stage, statuses

DETAILS = "http://details:9080/details/0"
REVIEWS = "http://reviews:9080/reviews/0"
_IDENTITY = re.compile(r"(By|URI)=(spiffe://[^;,]+)")

Verdict = tuple[str, bool]


async def mutual_tls(stage: Stage) -> Verdict:
    """Plain text becomes mutual TLS under live traffic, then plain text is refused."""
    await stage.apply("networking/details-plaintext.yaml")

    async def plain() -> bool:
        return (await stage.one(DETAILS)).document.get("caller") is None

    await stage.until(plain)
    await stage.settled()
    async with asyncio.TaskGroup() as tasks:
        traffic = tasks.create_task(stage.send(DETAILS, seconds=4, concurrency=4, interval_ms=5))
        await asyncio.sleep(1)
        outside_before = await _outside(stage)
        await stage.delete("networking/details-plaintext.yaml")
        await asyncio.sleep(1)
        await stage.apply("networking/strict-mtls.yaml")

        async def refused() -> bool:
            return await _outside(stage) == "refused"

        strict = await stage.until(refused)
    answers = traffic.result()
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


async def denied_by_rule(stage: Stage) -> Verdict:
    """A Mixer rule keeps reviews v3 from calling ratings, and nobody else."""
    rules = await stage.mixer_rules()
    await stage.apply("policy/deny-reviews-v3.yaml", "networking/reviews-jason-v3.yaml")

    async def known() -> bool:
        return await stage.mixer_rules() == rules + 1

    # Proxies keep verdicts for a minute: they should first ask when Mixer knows the rule.
    await stage.until(known)
    await stage.apply("policy/enable-checks.yaml")
    evidence, ok = await _calls_of_ratings(stage, "Not allowed")
    await stage.delete("policy/deny-reviews-v3.yaml")
    return evidence, ok


async def denied_by_list(stage: Stage) -> Verdict:
    """A Mixer list admits versions v1 and v2 to ratings; v3 is not on it."""
    await stage.apply("policy/whitelist-versions.yaml")
    evidence, ok = await _calls_of_ratings(stage, "v3 is not whitelisted")
    await stage.delete("policy/whitelist-versions.yaml")
    return evidence, ok


async def _calls_of_ratings(stage: Stage, reason: str) -> Verdict:
    """Calls of ratings by reviews v3 (jason) must be denied for ``reason``, those of v2 not."""
    jason = {"end-user": "jason"}

    async def denied() -> bool:
        answers = await stage.send(REVIEWS, count=10, concurrency=2, headers=jason)
        return all(reason in str(answer.document.get("ratings")) for answer in answers)

    await stage.until(denied)
    await stage.settled()
    third = await stage.send(REVIEWS, count=30, concurrency=2, headers=jason)
    await stage.apply("networking/reviews-v2.yaml")

    async def second_version() -> bool:
        return (await stage.one(REVIEWS, headers=jason)).document.get("version") == "v2"

    await stage.until(second_version)
    await stage.settled()
    second = await stage.send(REVIEWS, count=30, concurrency=2)
    await stage.apply("networking/reviews-jason-v3.yaml")
    by_third = Counter(a.document.get("ratings_status") for a in third)
    by_second = Counter(a.document.get("ratings_status") for a in second)
    said = str(third[-1].document.get("ratings", ""))
    evidence = f"v3: {dict(by_third)} ({said.strip()}); v2: {dict(by_second)}"
    return evidence, by_third == {403: 30} and by_second == {200: 30} and reason in said


async def quota(stage: Stage) -> Verdict:
    """At most 20 requests in ten seconds; the rest is answered with 429."""
    await stage.apply("policy/quota-details.yaml")

    async def limited() -> bool:
        return (await stage.one(DETAILS)).status == 429

    await stage.until(limited, pause=0.05)
    # The window is rolling: after it has passed the whole amount is there again.
    await asyncio.sleep(11)
    answers = await stage.send(DETAILS, count=60, concurrency=4)
    await stage.delete("policy/quota-details.yaml")
    counted = Counter(a.status for a in answers)
    body = next((a.body for a in answers if a.status == 429), "")
    evidence = f"60 requests -> {statuses(answers)} ({body.strip()})"
    return evidence, counted == {200: 20, 429: 40}
