"""From a change of the mesh's roots until every agent has it, and Citadel knows (A8.5).

    python -m tests.bench.bench_trust [AGENTS]

Real Pilot and etcd; agents are streams that subscribe to the trust bundles and their ProxyConfig,
as ours do beside the requests of Envoy, and confirm at once. Times are from the write to etcd, with
the 100 ms in which Pilot gathers changes.
"""

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from mast.citadel.core.knowledge import knowledge
from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.keys import STATUS_TRUST, trust_key
from mast.common.process.telemetry import configure_logging
from mast.pilot.core.xds.resources import PCDS, TBDS
from mastapi.status.v1.status_pb2 import TrustStatus
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle
from tests.support.etcd_server import etcd_server
from tests.support.pilot_process import pilot_process
from tests.support.pki import Ca
from tests.support.xds_client import XdsStream, node, xds_stream

DOMAIN = "cluster.local"
ROUNDS = 10
SECONDS = 120


@dataclass
class Agents:
    """When each agent had the bundle of which sequence."""

    times: dict[int, list[float]] = field(default_factory=dict)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self, stream: XdsStream) -> None:
        """Subscribe, and confirm whatever comes."""
        await stream.ask(PCDS)
        await stream.ask(TBDS)
        while True:
            response = await stream.told(3600)
            await stream.ack(response)
            if response.type_url == TBDS:
                for each in response.resources:
                    bundle = TrustBundle()
                    each.resource.Unpack(bundle)
                    async with self.news:
                        self.times.setdefault(bundle.sequence, []).append(time.monotonic())
                        self.news.notify_all()

    async def all_have(self, sequence: int, count: int) -> list[float]:
        """The times at which they got it, once all did."""
        async with asyncio.timeout(SECONDS), self.news:
            await self.news.wait_for(lambda: len(self.times.get(sequence, ())) >= count)
        return sorted(self.times[sequence])


def bundle(sequence: int, roots: list[Ca]) -> TrustBundle:
    """As Citadel publishes it while a root is prepared: two roots."""
    made = TrustBundle(trust_domain=DOMAIN, sequence=sequence)
    for root, state in zip(roots, (Root.ACTIVE, Root.PREPARED), strict=True):
        made.roots.add(pem=root.pem.decode(), state=state)
    return made


async def known(store: Store, sequence: int, count: int) -> float:
    """When what Pilot reports says that all of them confirmed a sequence."""
    async with asyncio.timeout(SECONDS):
        while True:
            entries = (await store.list(STATUS_TRUST)).entries
            reports = [TrustStatus.FromString(each.value) for each in entries]
            if knowledge(reports, DOMAIN, sequence).holding >= count:
                return time.monotonic()
            await asyncio.sleep(0.01)


async def measure(count: int, directory: Path) -> None:
    agents, roots = Agents(), [Ca.root("one"), Ca.root("two")]
    flags = ("--stream-rate", "10000", "--drain", "100ms")
    async with (
        etcd_server(directory) as etcd,
        connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
        pilot_process(etcd.endpoint, directory, *flags) as pilot,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as tasks,
    ):
        await store.put(trust_key(DOMAIN), bundle(1, roots).SerializeToString())
        following = []
        for number in range(count):
            ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            who = node(f"sidecar~{ip}~web-{number}.shop~shop.svc.cluster.local", NAMESPACE="shop")
            stream = await stack.enter_async_context(xds_stream(pilot.ads, who=who))
            following.append(tasks.create_task(agents.follow(stream)))
        await agents.all_have(1, count)
        await known(store, 1, count)
        last, half, told, cpu = [], [], [], pilot.cpu_seconds
        for sequence in range(2, ROUNDS + 2):
            roots[1] = Ca.root(f"root {sequence}")
            began = time.monotonic()
            await store.put(trust_key(DOMAIN), bundle(sequence, roots).SerializeToString())
            times = await agents.all_have(sequence, count)
            last.append(times[-1] - began)
            half.append(median(times) - began)
            told.append(await known(store, sequence, count) - began)
        spent = pilot.cpu_seconds - cpu
        for task in following:
            task.cancel()
    report(f"{count} agents have it, all", last, cpu_ms_per_change=round(spent / ROUNDS * 1000))
    report(f"{count} agents have it, half", half)
    report(f"Citadel knows of {count}", told)


def report(name: str, seconds: list[float], **more: Any) -> None:
    """Median and slowest of the rounds, in milliseconds."""
    found = {"value": round(median(seconds) * 1000), "unit": "ms", **more}
    slowest = round(quantiles(seconds, n=100)[98] * 1000)
    print(dumps({"name": f"new roots: {name}", **found, "p99": slowest}), flush=True)  # noqa: T201


def main() -> None:
    """Measure once; the only number on the command line is that of agents."""
    configure_logging("bench", "error", "console")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(count, Path(directory)))


if __name__ == "__main__":
    main()
