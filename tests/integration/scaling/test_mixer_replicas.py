"""Two Mixers are replaced one after the other under checks that fail closed (issue 7, 3).

Both sidecars reach them by one address, as by the address of a Service, so nothing tells the
proxies that a Mixer is about to end but the Mixer itself.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

from tests.integration.mixer.pair import pair
from tests.integration.mixer.process import mixer
from tests.integration.scaling.rolling import DELAY, DRAIN, replace_all
from tests.support.ready_service import ready_service
from tests.support.service_process import ServiceProcess
from tests.support.steady import steadily
from tests.support.until import until

FLAGS = (*DELAY, *DRAIN)
# Each path is judged by itself, so no proxy can answer for Mixer.
RULES = """
kind: handler
metadata: {name: barred}
spec: {compiledAdapter: listchecker, params: {overrides: [/rolled/never], blacklist: true}}
---
kind: instance
metadata: {name: path}
spec: {compiledTemplate: listentry, params: {value: request.path}}
---
kind: rule
metadata: {name: barred}
spec: {actions: [{handler: barred, instances: [path]}]}
---
kind: handler
metadata: {name: log}
spec: {compiledAdapter: stdio, params: {}}
---
kind: instance
metadata: {name: url}
spec: {compiledTemplate: logentry, params: {variables: {url: request.path}}}
---
kind: rule
metadata: {name: log}
spec:
  match: context.reporter.kind == "inbound"
  actions: [{handler: log, instances: [url]}]
"""


def reported(mixers: list[ServiceProcess]) -> Counter[str]:
    """The requests that Mixers have logged, and how often."""
    return Counter(line["url"] for each in mixers for line in each.log if "url" in line)


async def test_mixers_are_replaced_under_checks_and_reports(tmp_path: Path) -> None:
    """No request fails, and each one is reported once."""
    async with (
        ready_service("grpc") as front,
        pair(tmp_path, flags=FLAGS, front=front, reports=True) as mesh,
        AsyncExitStack() as stack,
    ):
        await mesh.enforce(RULES)
        mixers, numbers, made = list(mesh.mixers), count(), set[str]()

        async def start() -> ServiceProcess:
            replica = await stack.enter_async_context(mixer(mesh.etcd.endpoint, FLAGS))
            mixers.append(replica)
            return replica

        async def request() -> None:
            path = f"/rolled/{next(numbers)}"
            status, body = await mesh.get("closed", path)
            assert status == 200, f"{status} {body}"
            made.add(path)

        async with steadily(request, clients=3) as calls:
            await until(lambda: len(reported(mixers)) > 20)
            new = await replace_all([front], start)
            await until(lambda: len(reported(new)) > 20)
        assert calls.failures == []
        await until(lambda: made <= reported(mixers).keys())
        assert set(reported(mixers).values()) == {1}
