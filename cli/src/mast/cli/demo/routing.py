"""Claims about traffic: discovery, canary, A/B, faults, timeout, retries, circuit breaking."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from datetime import UTC, datetime

from mast.cli.demo.stage import Answer, Stage, statuses

REVIEWS = "http://reviews:9080/reviews/0"
RATINGS = "http://ratings:9080/ratings/0"
PRODUCT = "http://productpage:9080/api/v1/products/0"

Verdict = tuple[str, bool]


async def discovery(stage: Stage) -> Verdict:
    """productpage finds details and reviews by name; all three versions of reviews are used."""

    async def all_versions() -> bool:
        return len([v for v in await _versions(stage, 20) if v.startswith("v")]) == 3

    await stage.until(all_versions)
    await stage.until(lambda: _complete(stage))
    answers = await stage.send(PRODUCT, count=60, concurrency=4)
    pages = [a.document for a in answers if a.status == 200]
    good = [p for p in pages if p.get("details_status") == p.get("reviews_status") == 200]
    versions = Counter(p["reviews"]["version"] for p in good)
    shares = ", ".join(f"{version} {count}" for version, count in sorted(versions.items()))
    evidence = f"{len(good)} of 60 pages complete; reviews answered by {shares or 'nobody'}"
    return evidence, len(good) == 60 and set(versions) == {"v1", "v2", "v3"}


async def canary(stage: Stage) -> Verdict:
    """A 90/10 split is kept within four standard deviations."""
    await stage.apply("networking/reviews-v1.yaml")
    await stage.apply("networking/reviews-90-10.yaml")
    if not await _reaches(stage, "v2"):
        return "the canary never got a request", False
    await stage.settled()
    count, share = 1000, 0.1
    versions = await _versions(stage, count)
    bound = 4 * math.sqrt(count * share * (1 - share))
    low, high = round(count * share - bound), round(count * share + bound)
    seen = versions["v2"]
    evidence = f"{seen} of {count} requests went to v2 (expected 100, allowed {low}-{high})"
    return evidence, low <= seen <= high and versions["v1"] == count - seen


async def header_routing(stage: Stage) -> Verdict:
    """The user jason gets v3, everybody else v1."""
    await stage.apply("networking/reviews-jason-v3.yaml")
    if not await _reaches(stage, "v3", {"end-user": "jason"}):
        return "jason never got v3", False
    await stage.settled()
    jason = await _versions(stage, 100, {"end-user": "jason"})
    others = await _versions(stage, 100, {"end-user": "alice"})
    evidence = f"jason: {dict(jason)}; others: {dict(others)}"
    return evidence, jason == {"v3": 100} and others == {"v1": 100}


async def live_change(stage: Stage) -> Verdict:
    """A routing change reaches running traffic in milliseconds and costs no request."""
    await stage.apply("networking/reviews-v1.yaml")
    await _reaches(stage, "v1", {"end-user": "jason"})
    await stage.settled()
    async with stage.traffic(REVIEWS, concurrency=4, interval_ms=2) as answers:
        await asyncio.sleep(0.5)
        await stage.apply("networking/reviews-v2.yaml")
        stored = datetime.now(tz=UTC).timestamp()  # noqa: TID251 - measured against real traffic
        await _reaches(stage, "v2")
        await stage.settled()
    switched = [a.at for a in answers if a.document.get("version") == "v2"]
    failed = sum(a.status != 200 for a in answers)
    if not switched:
        return "the change never reached traffic", False
    delay = (min(switched) - stored) * 1000
    evidence = (
        f"first request on the new route {delay:.0f} ms after the change was stored; "
        f"{len(answers)} requests meanwhile, {failed} failed"
    )
    return evidence, failed == 0 and delay < 2000


async def faults(stage: Stage) -> Verdict:
    """A 600 ms delay and status 555 are injected for chosen requests only."""
    await stage.apply("networking/ratings-faults.yaml")
    abort = {"x-demo-fault": "abort"}

    async def injected() -> bool:
        return (await stage.one(RATINGS, headers=abort)).status == 555

    await stage.until(injected)
    await stage.settled()
    aborted = await stage.send(RATINGS, count=20, headers=abort)
    delayed = await stage.send(RATINGS, count=6, concurrency=3, headers={"x-demo-fault": "delay"})
    normal = await stage.send(RATINGS, count=20)
    slowest, fastest = max(a.ms for a in normal), min(a.ms for a in delayed)
    evidence = (
        f"abort -> {statuses(aborted)}; delay -> at least {fastest:.0f} ms; "
        f"others -> {statuses(normal)}, at most {slowest:.0f} ms"
    )
    ok = _all(aborted, 555) and _all(delayed, 200) and _all(normal, 200)
    # Envoy's timers have a resolution of a millisecond.
    return evidence, ok and fastest >= 599 and slowest < 599


async def timeout_and_retry(stage: Stage) -> Verdict:
    """A slow call is given up after 300 ms; a failing instance is hidden by retries."""
    await stage.apply("networking/ratings-timeout.yaml")
    for instance in ("ratings-a", "ratings-b"):
        stage.order(instance, {"delay_s": 1})

    async def cut() -> bool:
        return (await stage.one(RATINGS)).status == 504

    await stage.until(cut)
    await stage.settled()
    slow = await stage.send(RATINGS, count=6, concurrency=3)
    stage.order("ratings-a", {"status": 503})
    stage.order("ratings-b", None)
    await stage.settled()
    bare = await stage.send(RATINGS, count=40)
    await stage.apply("networking/ratings-retries.yaml")

    async def hidden() -> bool:
        return _all(await stage.send(RATINGS, count=20), 200)

    await stage.until(hidden)
    retried = await stage.send(RATINGS, count=100, concurrency=2)
    stage.order("ratings-a", None)
    longest = max(a.ms for a in slow)
    evidence = (
        f"timeout -> {statuses(slow)} within {longest:.0f} ms; one of two instances failing: "
        f"without retries {statuses(bare)}, with retries {statuses(retried)}"
    )
    broken = 0 < sum(a.status == 503 for a in bare) < 40
    return evidence, _all(slow, 504) and longest < 900 and broken and _all(retried, 200)


async def circuit_breaker(stage: Stage) -> Verdict:
    """An instance that fails three times in a row gets no more requests."""
    await stage.apply("networking/ratings-circuit-breaker.yaml")
    await stage.settled()
    stage.order("ratings-a", {"status": 503})
    first = await stage.send(RATINGS, count=60, interval_ms=10)
    after = await stage.send(RATINGS, count=100)
    instances = Counter(a.document.get("instance") for a in after)
    stage.order("ratings-a", None)
    await stage.delete("networking/ratings-circuit-breaker.yaml")
    failed = sum(a.status != 200 for a in first)
    evidence = (
        f"{failed} failures until it was ejected; then {statuses(after)}, "
        f"all from {', '.join(str(i) for i in instances)}"
    )
    return evidence, 0 < failed <= 12 and _all(after, 200) and len(instances) == 1


async def _complete(stage: Stage) -> bool:
    page = (await stage.one(PRODUCT)).document
    return page.get("details_status") == page.get("reviews_status") == 200


async def _reaches(stage: Stage, version: str, headers: dict[str, str] | None = None) -> bool:
    async def seen() -> bool:
        return (await _versions(stage, 20, headers))[version] > 0

    return await stage.until(seen)


async def _versions(
    stage: Stage, count: int, headers: dict[str, str] | None = None
) -> Counter[str]:
    answers = await stage.send(REVIEWS, count=count, concurrency=4, headers=headers or {})
    return Counter(str(a.document.get("version", a.status)) for a in answers)


def _all(answers: list[Answer], status: int) -> bool:
    return all(answer.status == status for answer in answers)
