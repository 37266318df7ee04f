"""What a claim works with: the running mesh, the load generator, configuration, measurements."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import aiohttp

from mast.cli.config_commands import sources
from mast.cli.connect import galley
from mast.cli.local.home import Home, Mesh, Workload
from mast.cli.pilot_pages import sync_status
from mastapi.galley.v1 import config_pb2

PATIENCE_SECONDS = 15.0
LONGEST_SECONDS = 120
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer the load generator got: ``status`` 0 is no answer at all."""

    status: int
    ms: float
    at: float
    body: str = ""
    error: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


def statuses(answers: Sequence[Answer]) -> str:
    """``200: 190, 503: 10`` for evidence."""
    counted = Counter(answer.status for answer in answers)
    return ", ".join(f"{status}: {count}" for status, count in sorted(counted.items()))


class Stage:
    """Everything claims need, on one running mesh with bookinfo in it."""

    def __init__(self, home: Home, mesh: Mesh, samples: Path, scratch: Path) -> None:
        self.home = home
        self.mesh = mesh
        self.samples = samples
        self.scratch = scratch

    async def send(self, url: str, **job: Any) -> list[Answer]:
        """Have the load generator do one job (see samples/bookinfo/apps/loadgen.py)."""
        reader, writer = await self._load_generator()
        try:
            writer.write(json.dumps({"url": url, "keep_bodies": True, **job}).encode() + b"\n")
            line = await reader.readline()
        finally:
            writer.close()
            await writer.wait_closed()
        return [Answer(**result) for result in json.loads(line)["results"]]

    @asynccontextmanager
    async def traffic(self, url: str, **job: Any) -> AsyncIterator[list[Answer]]:
        """Requests as long as the block runs; the list holds their answers after it."""
        answers: list[Answer] = []
        going = self.scratch / f"traffic-{token_hex(4)}"
        going.touch()
        job |= {"seconds": LONGEST_SECONDS, "while": str(going)}
        async with asyncio.TaskGroup() as tasks:
            sent = tasks.create_task(self.send(url, **job))
            try:
                yield answers
            finally:
                going.unlink()
        answers += sent.result()

    async def _load_generator(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the load generator, which may only just have been started."""
        path = str(self.scratch / "loadgen.sock")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await asyncio.open_unix_connection(path, limit=64 << 20)
                except (FileNotFoundError, ConnectionRefusedError):
                    await asyncio.sleep(0.02)

    async def one(self, url: str, **job: Any) -> Answer:
        """One request."""
        (answer,) = await self.send(url, **job)
        return answer

    async def apply(self, *names: str) -> None:
        """Apply files of the sample, e.g. ``networking/reviews-v1.yaml``, in one transaction.

        Whole paths are those of other files.
        """
        request = config_pb2.ApplyRequest(sources=sources(self.samples / n for n in names))
        async with galley(self.mesh.addresses["galley-admin"]) as api:
            await api.Apply(request, timeout=20)

    async def delete(self, *names: str) -> None:
        """Delete what files of the sample name."""
        request = config_pb2.DeleteRequest(
            sources=sources(self.samples / n for n in names), ignore_missing=True
        )
        async with galley(self.mesh.addresses["galley-admin"]) as api:
            await api.Delete(request, timeout=20)

    async def until(
        self,
        holds: Callable[[], Awaitable[bool]],
        seconds: float = PATIENCE_SECONDS,
        pause: float = 0.02,
    ) -> bool:
        """Whether ``holds`` comes true in time."""
        try:
            async with asyncio.timeout(seconds):
                while not await holds():  # noqa: ASYNC110 - asks the mesh, not this program
                    await asyncio.sleep(pause)
        except TimeoutError:
            return False
        return True

    async def settled(self) -> bool:
        """Wait until every proxy has acknowledged all it was sent, twice in a row."""
        quiet = 0

        async def holds() -> bool:
            nonlocal quiet
            proxies = await sync_status(self.mesh.addresses["pilot-http"])
            kinds = ("cluster", "listener", "route", "endpoint")
            synced = all(
                proxy.get(f"{kind}_sent") == proxy.get(f"{kind}_acked")
                for proxy in proxies
                for kind in kinds
            )
            quiet = quiet + 1 if synced else 0
            return quiet >= 2

        return await self.until(holds, pause=0.2)

    async def series(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that carry these labels, from Mixer's Prometheus page."""
        return sum_of(await self._page("mixer-prometheus"), name, labels)

    async def mixer_rules(self) -> int:
        """How many rules Mixer works with at the moment."""
        page = await self._page("mixer-monitoring")
        return int(sum_of(page, "mixer_config_rule_configs_total", {}))

    async def checks(self) -> int:
        """How many checks of proxies Mixer has answered."""
        page = await self._page("mixer-monitoring")
        method = {"grpc_server_method": "envoy.service.auth.v3.Authorization/Check"}
        return int(sum_of(page, "grpc_io_server_completed_rpcs", method))

    async def calls(self, handler: str) -> int:
        """How often Mixer has called the adapter of a handler, by its full name."""
        page = await self._page("mixer-monitoring")
        return int(sum_of(page, "mixer_runtime_dispatches_total", {"handler": handler}))

    async def _page(self, what: str) -> str:
        url = f"http://{self.mesh.addresses[what]}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.text()

    def workload(self, service: str, version: str = "v1") -> Workload:
        """The record of a workload."""
        return next(
            w for w in self.home.workloads() if (w.service, w.version) == (service, version)
        )

    def order(self, instance: str, fault: Mapping[str, Any] | None) -> None:
        """Order a ratings instance (``ratings-a``, ``ratings-b``) to misbehave, or to behave."""
        path = self.scratch / f"{instance}.json"
        if fault is None:
            path.unlink(missing_ok=True)
        else:
            aside = path.with_suffix(".new")
            aside.write_text(json.dumps(fault))
            aside.replace(path)


def sum_of(text: str, name: str, labels: Mapping[str, str]) -> float:
    """Sum of the matching samples of a Prometheus text page."""
    total = 0.0
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is None or found.group(1) != name:
            continue
        present = dict(_LABEL.findall(found.group(2) or ""))
        if all(present.get(k) == v for k, v in labels.items()):
            total += float(found.group(3))
    return total
