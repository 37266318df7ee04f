"""Claims about running it: exact telemetry, and a control plane that may die."""

from __future__ import annotations

import asyncio
import signal

from mast.cli.demo.stage import Stage, statuses
from mast.cli.local.processes import gone

PRODUCT = "http://productpage:9080/api/v1/products/0"
REQUESTS = "istio_requests_total"
COUNT = 200
DRAWN = {
    "reporter": "destination",
    "source_workload": "productpage-v1",
    "source_version": "v1",
    "destination_workload": "reviews-v2",
    "destination_service_name": "reviews",
    "destination_service_namespace": "default",
    "request_protocol": "http",
    "response_code": "200",
    "connection_security_policy": "mutual_tls",
}
"""What dashboards of workloads draw a line by."""

Verdict = tuple[str, bool]


async def telemetry(stage: Stage) -> Verdict:
    """Every request is counted exactly once by its server's proxy, in the series of dashboards."""
    await stage.apply("networking/reviews-v2.yaml")
    await stage.settled()
    await _quiet(stage)
    services = ("productpage", "details", "reviews", "ratings")
    before = {name: await _reported(stage, name) for name in services}
    drawn = await stage.series(REQUESTS, **DRAWN)
    answers = await stage.send(PRODUCT, count=COUNT, concurrency=4)
    expected = dict.fromkeys(services, COUNT)

    async def counted() -> dict[str, int]:
        return {name: int(await _reported(stage, name) - before[name]) for name in services}

    async def complete() -> bool:
        return await counted() == expected

    await stage.until(complete, seconds=30, pause=0.2)
    await _quiet(stage)
    reported = await counted()
    drawn = int(await stage.series(REQUESTS, **DRAWN) - drawn)
    shown = ", ".join(f"{name} {count}" for name, count in reported.items())
    labels = ",".join(f'{name}="{value}"' for name, value in DRAWN.items())
    evidence = (
        f"{COUNT} pages sent ({statuses(answers)}); reported: {shown}; "
        f"increase of {REQUESTS}{{{labels}}}: {drawn}"
    )
    held = reported == expected and drawn == COUNT
    return evidence, held and all(a.status == 200 for a in answers)


async def _reported(stage: Stage, name: str) -> float:
    host = f"{name}.default.svc.cluster.local"
    return await stage.series(REQUESTS, reporter="destination", destination_service=host)


async def _quiet(stage: Stage) -> None:
    """Wait until nothing more is reported: proxies flush once a second."""
    last = -1.0

    async def unchanged() -> bool:
        nonlocal last
        now = await stage.series(REQUESTS)
        same, last = now == last, now
        return same

    await stage.until(unchanged, pause=1.5)


async def survives(stage: Stage) -> Verdict:
    """Each control plane process is killed under traffic: no request fails, all come back.

    Policy checks are off: where they are on, requests wait for Mixer, but only for seconds, in
    which a busy machine may not start it.
    """
    names = ("pilot", "mixer", "galley", "citadel", "etcd")
    # A route that follows shows when proxies know of both; connections from before end with use.
    await stage.apply("networking/reviews-v2.yaml")
    await stage.until(lambda: _answers(stage, "v2"))
    await stage.settled()
    await stage.send(PRODUCT, count=40, concurrency=8)
    victims = {name: stage.home.services()[name] for name in names}

    async def back() -> bool:
        now = stage.home.services()
        return all(name in now and now[name] != victims[name] for name in names)

    async with stage.traffic(PRODUCT, concurrency=2, interval_ms=100) as answers:
        for victim in victims.values():
            await asyncio.sleep(0.5)
            victim.send(signal.SIGKILL)
            await gone([victim])
        returned = await stage.until(back)
        converged = returned and await _follows(stage)
    problems = [f"{a.status} {a.error}{a.body[:100]}" for a in answers if a.status != 200]
    failed = len(problems)
    evidence = (
        f"killed {', '.join(names)}: {len(answers)} requests, {failed} failed{_first(problems)}; "
        f"{'all back, a change reached the proxies' if converged else 'not all came back'}"
    )
    return evidence, failed == 0 and converged


def _first(problems: list[str]) -> str:
    """What the first of them was, for evidence."""
    return f" ({problems[0].strip()})" if problems else ""


async def _follows(stage: Stage) -> bool:
    """Whether a routing change still reaches the proxies."""

    async def stored() -> bool:
        try:
            await stage.apply("networking/reviews-v1.yaml")
        except Exception:  # noqa: BLE001 - services that are coming back answer with many errors
            return False
        return True

    return await stage.until(stored, seconds=30, pause=0.3) and await stage.until(
        lambda: _answers(stage, "v1"), seconds=30
    )


async def _answers(stage: Stage, version: str) -> bool:
    """Whether a page has reviews of that version."""
    reviews = (await stage.one(PRODUCT)).document.get("reviews")
    return isinstance(reviews, dict) and reviews.get("version") == version
