"""Mixer's engine and adapters in this process: everything behind its faces, without a store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from mast.common.process.telemetry import Metrics
from mast.mixer.adapters.catalog import Edges, adapters
from mast.mixer.core.config.snapshot import EMPTY, compile_snapshot
from mast.mixer.core.series import Registry
from mast.mixer.core.templates import TEMPLATES
from mast.mixer.core.values import Attributes
from mast.mixer.core.workloads import Workloads
from mast.mixer.runtime.calls import Calls
from mast.mixer.runtime.engine import LiveEngine
from mast.mixer.runtime.handlers import Handlers
from mast.mixer.runtime.instruments import Instruments
from tests.support.mixer_config import NOW, entries, no_answer


def clock() -> datetime:
    """A time of day."""
    return NOW


class Recording(LiveEngine):
    """Keeps what is reported, as it goes through."""

    reported: list[Attributes]

    async def report(self, records: Sequence[Attributes]) -> Sequence[str]:
        self.reported += records
        return await super().report(records)


@dataclass
class LiveMixer:
    """An engine and the series that it makes."""

    engine: Recording
    series: Registry
    pods: Workloads
    edges: Edges

    async def configure(self, *texts: str) -> None:
        """Put a configuration without problems in force; handlers that stay the same are kept."""
        known = [each for each in entries(*texts) if "Quota" not in each.kind]
        snapshot = compile_snapshot(known, TEMPLATES, adapters(self.edges), EMPTY)
        assert not snapshot.problems
        await self.engine.swap(snapshot)


@asynccontextmanager
async def live_mixer(pods: Workloads, *texts: str) -> AsyncIterator[LiveMixer]:
    """A Mixer with this configuration."""
    series, instruments = Registry(1000), Instruments(Metrics("mixer"))
    async with asyncio.TaskGroup() as tasks:
        handlers = Handlers(tasks, instruments)
        calls = Calls(instruments, timedelta(seconds=5))
        engine = Recording(handlers, calls, instruments, "istio-system")
        engine.reported = []
        edges = Edges(clock, asyncio.get_running_loop().time, no_answer, series, pods)
        running = LiveMixer(engine, series, pods, edges)
        await running.configure(*texts)
        yield running
        await engine.close()
