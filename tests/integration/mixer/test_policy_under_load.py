"""Policies where it counts: two sidecars, two Mixers, requests all the time.

What an applied policy does to cached verdicts, cached denials, a quota that replicas and workers
share, and the death of a replica (issue "Tests that count"; mixer_proxy.md A39, C4, C6, C7, C8;
checklist 21, 27, 51, 52). One mesh serves all tests; the last ones kill its Mixers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from functools import partial
from operator import gt

import pytest
import pytest_asyncio

from mast.common.etcd import Put
from mast.common.keys import workload_key
from mastapi.registry.v1.registry_pb2 import Workload
from tests.integration.mixer.pair import LIFETIME, Load, Pair, load, pair
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = 30
"""Seconds; of the lifetime of verdicts it is a tenth, so nothing expires meanwhile."""
assert LIFETIME >= 10 * SOON

USER = 'request.headers["x-user"] | "-"'
DENIER = """
kind: handler
metadata: {name: deny}
spec:
  compiledAdapter: denier
  params: {status: {code: 7, message: not you}, valid_duration: 600s, valid_use_count: USES}
---
kind: instance
metadata: {name: nothing}
spec: {compiledTemplate: checknothing}
---
kind: rule
metadata: {name: deny}
spec: {match: MATCH, actions: [{handler: deny, instances: [nothing]}]}
"""
DENIED = (403, "PERMISSION_DENIED:deny.istio-system:not you")


def denier(path: str, *, uses: int = 10_000) -> str:
    """Nobody whose name begins with an m gets anything below a path."""
    match = f'request.path.startsWith("{path}") && ({USER}).startsWith("m")'
    return DENIER.replace("MATCH", f"'{match}'").replace("USES", str(uses))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with pair(tmp_path_factory.mktemp("pair")) as running:
        yield running


async def get(mesh: Pair, path: str, user: str) -> tuple[int, str]:
    return await mesh.get("closed", path, **{"x-user": user})


async def statuses(mesh: Pair, path: str, users: list[str]) -> list[int]:
    return [(await get(mesh, path, each))[0] for each in users]


async def test_an_applied_policy_ends_verdicts_that_are_still_valid(mesh: Pair) -> None:
    """And one that is taken back ends denials: all of them, long before they expire (C4, C6).

    The Envoys have static configuration, so nothing else could empty their caches.
    """
    users = [f"m{number}" for number in range(10)]
    policy = denier("/flip")

    async def all_are(status: int) -> bool:
        return await statuses(mesh, "/flip", users) == [status] * len(users)

    async with load(lambda: get(mesh, "/flip", "m0"), clients=8) as steady:
        await until(lambda: steady.statuses[200] > 200)
        assert sum(await mesh.checks()) < 100, "the caches answer most"
        await mesh.put(policy)
        async with asyncio.timeout(SOON):
            await until(lambda: all_are(403))
        await mesh.remove(policy)
        async with asyncio.timeout(SOON):
            await until(lambda: all_are(200))
    assert set(steady.statuses) == {200, 403}
    assert {body for status, body in steady.answers if status == 403} == {DENIED[1]}
    assert [each.process.returncode for each in mesh.mixers] == [None, None]


LIST = """
kind: handler
metadata: {name: versions}
spec:
  compiledAdapter: listchecker
  params: {overrides: [v1], caching_interval: 1s, caching_use_count: 10000}
---
kind: instance
metadata: {name: version}
spec: {compiledTemplate: listentry, params: {value: 'source.labels["version"] | "none"'}}
---
kind: rule
metadata: {name: versions}
spec: {match: 'request.path == "/expiring"', actions: [{handler: versions, instances: [version]}]}
"""


async def test_what_is_no_configuration_counts_when_verdicts_expire(mesh: Pair) -> None:
    """A label of the caller changes; the verdict that read it is valid for a second (C4)."""

    async def label(version: str) -> None:
        workload = Workload(
            name="client-1",
            namespace="default",
            addresses=["127.0.0.1"],
            labels={"version": version},
        )
        key = workload_key("c", "default", "client-1")
        await mesh.store.txn([], [Put(key, workload.SerializeToString())])

    async def answers(status: int) -> bool:
        return (await mesh.get("closed", "/expiring"))[0] == status

    def steadily() -> Awaitable[tuple[int, str]]:
        return mesh.get("closed", "/steady")

    await label("v1")
    await mesh.enforce(LIST)
    # That whatever else is asked is asked for other requests.
    async with load(steadily, clients=2):
        for version, status in (("v2", 403), ("v1", 200)):
            before = mesh.configurations()
            await label(version)
            async with asyncio.timeout(SOON):
                await until(partial(answers, status))
            assert mesh.configurations() == before
    await mesh.remove(LIST)


@pytest.mark.parametrize(
    ("uses", "fewest", "most"),
    [
        pytest.param(10_000, 0, 150, id="answered-without-mixer"),
        # A miss and four hits take turns, in each worker.
        pytest.param(4, 30, 200, id="use-count"),
    ],
)
async def test_cached_denials(mesh: Pair, uses: int, fewest: int, most: int) -> None:
    """They are like the first, reach nobody, and are used as often as they may (C4, C6)."""
    path = f"/cached-{uses}"
    await mesh.enforce(denier(path, uses=uses))
    answers, before, reached = Counter[tuple[int, str]](), 0, 0
    async with asyncio.timeout(SOON):
        # Until no worker has a verdict of before.
        while answers != {DENIED: 200}:
            before, reached = sum(await mesh.checks()), mesh.reached(path)
            answers = Counter([await get(mesh, path, "m0") for _ in range(200)])
    assert mesh.reached(path) == reached
    assert fewest <= sum(await mesh.checks()) - before <= most
    await mesh.remove(denier(path))


LIMIT = 300
QUOTA = f"""
kind: handler
metadata: {{name: shared}}
spec:
  compiledAdapter: etcdquota
  params:
    quotas:
    - name: rate.instance.istio-system
      max_amount: {LIMIT}
      valid_duration: 3600s
      overrides: [{{dimensions: {{path: /none}}, max_amount: 0, valid_duration: 3600s}}]
    min_deduplication_duration: 1s
---
kind: instance
metadata: {{name: rate}}
spec: {{compiledTemplate: quota, params: {{dimensions: {{path: request.path}}}}}}
---
kind: rule
metadata: {{name: rate}}
spec: {{actions: [{{handler: shared, instances: [rate]}}]}}
---
kind: QuotaSpec
metadata: {{name: rate, namespace: default}}
spec: {{rules: [{{quotas: [{{quota: rate, charge: 1}}]}}]}}
---
kind: QuotaSpecBinding
metadata: {{name: rate, namespace: default}}
spec: {{services: [{{name: closed}}], quotaSpecs: [{{name: rate}}]}}
"""
EXHAUSTED = (429, "RESOURCE_EXHAUSTED:Quota is exhausted for: rate")


async def test_a_quota_is_used_up_exactly(mesh: Pair) -> None:
    """By two workers that keep tokens in stock, which ask two Mixers (C7, C8, C10; checklist 21).

    Others are refused while there are tokens in stock; yet all are used in the end. Rules that come
    meanwhile neither cost a token nor give one back (checklist 27).
    """
    await mesh.enforce(QUOTA)
    # No worker has a verdict of before when nobody gets what there is nothing of.
    await until(lambda: all_refused(mesh, "/none", requests=64))
    before = await mesh.checks()
    async with load(lambda: mesh.get("closed", "/limited"), clients=16) as made:
        await until(lambda: made.statuses[200] >= LIMIT // 3)
        await mesh.enforce(denier("/elsewhere"))
        await until(lambda: made.statuses[200] >= LIMIT)
        refused = made.statuses[429]
        await until(lambda: made.statuses[429] >= refused + 200)
    assert made.statuses == {200: LIMIT, 429: made.statuses.total() - LIMIT}
    assert mesh.reached("/limited") == LIMIT
    assert {each for each in made.answers if each[0] == 429} == {EXHAUSTED}
    served = [now - then for now, then in zip(await mesh.checks(), before, strict=True)]
    assert min(served) > 0
    assert sum(served) < made.statuses.total(), "tokens and refusals come from the cache"
    assert all([await mesh.connections(worker) for worker in (0, 1)])
    await mesh.remove(QUOTA, denier("/elsewhere"))


async def all_refused(mesh: Pair, path: str, requests: int) -> bool:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(mesh.get("closed", path)) for _ in range(requests)]
    return {each.result() for each in asked} == {EXHAUSTED}


MISSES = """
kind: handler
metadata: {name: barred}
spec: {compiledAdapter: listchecker, params: {overrides: [/judged/never], blacklist: true}}
---
kind: instance
metadata: {name: path}
spec: {compiledTemplate: listentry, params: {value: request.path}}
---
kind: rule
metadata: {name: barred}
spec: {actions: [{handler: barred, instances: [path]}]}
"""
FAILED = (503, "")


async def test_the_death_of_a_mixer_fails_only_what_policy_says(mesh: Pair) -> None:
    """A replica is killed under checks that no cache answers (A39, K2; checklist 52).

    What may pass without a check, or may be asked again, never fails. What may not is answered with
    the status of the fail policy and nothing else, until the dead replica is left out. Then the
    other one dies, too.
    """
    await mesh.enforce(MISSES)
    first, last = mesh.mixers
    unasked = await mesh.checks()
    async with (
        load(lambda: mesh.new("open"), clients=3) as opened,
        load(lambda: mesh.new("closed"), clients=3) as closed,
        load(lambda: mesh.new("once"), clients=3) as once,
    ):
        loads = (opened, closed, once)
        await until(lambda: busy(mesh, unasked))
        first.process.kill()
        await first.ended()
        before = totals(loads)
        await until(lambda: mesh.ejected(1))
        await until(lambda: all(map(gt, totals(loads), [each + 50 for each in before])))
        await until(lambda: all_pass(mesh, "once", 50))
    assert set(opened.statuses) == set(closed.statuses) == {200}
    assert {each for each in once.answers if each[0] != 200} <= {FAILED}
    assert once.statuses[503] < once.statuses[200]

    last.process.kill()
    await last.ended()
    assert {(await mesh.new("open"))[0] for _ in range(5)} == {200}
    assert {await mesh.new("once") for _ in range(5)} == {FAILED}
    assert await mesh.new("closed") == FAILED


async def busy(mesh: Pair, before: list[int]) -> bool:
    """Whether each Mixer has answered many checks since."""
    return all(now - then > 50 for now, then in zip(await mesh.checks(), before, strict=True))


def totals(loads: Iterable[Load]) -> list[int]:
    return [each.statuses.total() for each in loads]


async def all_pass(mesh: Pair, name: str, requests: int) -> bool:
    return {(await mesh.new(name))[0] for _ in range(requests)} == {200}
