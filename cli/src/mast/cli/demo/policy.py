"""Claims about Mixer's policy: rules, lists, caches of verdicts, quotas, adapters of one's own."""

from __future__ import annotations

from collections import Counter

from mast.cli.demo.own_adapter import own_adapter
from mast.cli.demo.stage import Answer, Stage, statuses
from mast.cli.local.configuration import apply, mesh_config

DETAILS = "http://details:9080/details/0"
RATINGS = "http://ratings:9080/ratings/0"
REVIEWS = "http://reviews:9080/reviews/0"
COUNT = 20
LIMIT = 20
PLANS = "plans.handler.istio-system"

Verdict = tuple[str, bool]


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


async def cached(stage: Stage) -> Verdict:
    """Proxies answer checks with verdicts that they remember; few requests wait for Mixer."""
    count = 400
    await stage.settled()
    before = await stage.checks()
    answers = await stage.send(DETAILS, count=count, concurrency=4)
    asked = await stage.checks() - before
    evidence = (
        f"{count} requests -> {statuses(answers)}; Mixer was asked {asked} times: "
        f"{1 - asked / count:.1%} hits"
    )
    return evidence, _all(answers, 200) and 0 < asked <= count // 5


async def quota(stage: Stage) -> Verdict:
    """Every customer gets exactly 20 requests a minute; what is more is answered with 429.

    One who is not measured tells when no proxy has a verdict from before any more.
    """
    await stage.apply("policy/quota-details.yaml")

    async def limited() -> bool:
        return _all(await _details(stage, "nobody"), 429)

    await stage.until(limited)
    found = {customer: await _details(stage, customer, 3 * LIMIT) for customer in ("ann", "bob")}
    await stage.delete("policy/quota-details.yaml")
    body = next((a.body for a in found["ann"] if a.status == 429), "")
    shown = "; ".join(f"{customer} -> {statuses(answers)}" for customer, answers in found.items())
    counted = [Counter(a.status for a in answers) for answers in found.values()]
    exactly = {200: LIMIT, 429: 2 * LIMIT}
    return f"{shown} ({body.strip()})", counted == [exactly, exactly]


async def _details(stage: Stage, customer: str, count: int = 2 * COUNT) -> list[Answer]:
    """Requests for details by a customer, on eight connections."""
    headers = {"x-customer": customer} if customer else {}
    return await stage.send(DETAILS, count=count, concurrency=8, headers=headers)


async def out_of_process(stage: Stage) -> Verdict:
    """An adapter of one's own, a gRPC server beside Mixer, decides by the plans of customers.

    It is the last claim with policy checks, and turns them off.
    """
    async with own_adapter(stage) as objects:
        await stage.apply(*objects)
        try:

            async def strangers_refused() -> bool:
                return _all(await _details(stage, ""), 401)

            await stage.until(strangers_refused)
            asked = await stage.calls(PLANS)
            found = {
                (who, what): await stage.send(url, count=COUNT, headers={"x-customer": who})
                for who, what, url in (
                    ("ann", "details", DETAILS),
                    ("ann", "ratings", RATINGS),
                    ("bob", "ratings", RATINGS),
                )
            }
            asked = await stage.calls(PLANS) - asked
        finally:
            await stage.delete(*objects)
            await apply(stage.mesh, [mesh_config()])
    refused = found["ann", "ratings"]
    shown = "; ".join(f"{who} {what} -> {statuses(got)}" for (who, what), got in found.items())
    evidence = f"{shown} ({refused[-1].body.strip()}); the adapter was called {asked} times"
    expected = {("ann", "ratings"): 403}
    held = all(_all(got, expected.get(case, 200)) for case, got in found.items())
    return evidence, held and 0 < asked < len(found) * COUNT


def _all(answers: list[Answer], status: int) -> bool:
    return all(answer.status == status for answer in answers)
