"""The live engine: swaps and the life of handlers (mixer.md D9, D10; checklist 26, 27, 48)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from mast.common.process.telemetry import Metrics
from mast.mixer.core.adapter import (
    Adapter,
    AdapterError,
    Batch,
    CheckResult,
    HandlerConfig,
    Instance,
)
from mast.mixer.core.config.snapshot import EMPTY, compile_snapshot
from mast.mixer.core.engine import CheckFailed, Engine, QuotaAsk, Status
from mast.mixer.core.templates import TEMPLATES
from mast.mixer.runtime.calls import Calls
from mast.mixer.runtime.engine import LiveEngine
from mast.mixer.runtime.handlers import Handlers
from mast.mixer.runtime.instruments import Instruments
from tests.fakes import mixer_adapter
from tests.support.ads_server import until
from tests.support.log_events import log_events
from tests.support.mixer_config import entries
from tests.unit.mixer.test_check import MANIFEST, NOTHING, action, rule


@dataclass
class Slow:
    """A handler whose checks wait, with a worker, that tells when it is closed."""

    params: dict[str, Any]
    go: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    worked: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    prepared: bool = False
    runs: int = 0

    async def check(self, _: Instance) -> CheckResult:
        self.entered.set()
        await self.go.wait()
        return CheckResult(Status(7, self.params["message"]))

    async def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        return ()

    async def prepare(self) -> None:
        if self.params.get("dawdle"):
            await self.go.wait()
        self.prepared = True
        if self.params.get("refuse"):
            raise AdapterError("cannot be prepared")

    async def run(self) -> None:
        self.runs += 1
        if self.runs <= self.params.get("crashes", 0):
            raise RuntimeError("worker crashed")
        self.worked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopping.set()
            if self.params.get("stubborn"):
                await self.go.wait()

    async def close(self) -> None:
        self.closed.set()
        if self.params.get("hold"):
            raise RuntimeError("cannot let go")


class Mesh:
    """A live engine that is given configurations."""

    def __init__(self, tasks: asyncio.TaskGroup, patience: timedelta, deadline: timedelta) -> None:
        instruments = self.instruments = Instruments(Metrics("mixer"))
        self.handlers = Handlers(
            tasks, instruments, jitter=lambda: 0.0, prepare=patience, close=patience
        )
        self.engine = LiveEngine(
            self.handlers, Calls(instruments, deadline), instruments, "istio-system", patience
        )
        self.built: list[Slow] = []
        slow = Adapter("slow", frozenset(TEMPLATES), Struct(), self._build)
        self.adapters = {"slow": slow, "script": mixer_adapter.adapter()}
        self.snapshot = EMPTY

    def _build(self, config: HandlerConfig) -> Slow:
        self.built.append(Slow(MessageToDict(config.params)))
        return self.built[-1]

    async def configure(self, *texts: str) -> None:
        found = entries(MANIFEST, NOTHING, *texts)
        self.snapshot = compile_snapshot(found, TEMPLATES, self.adapters, self.snapshot)
        await self.engine.swap(self.snapshot)

    def count(self, name: str) -> float:
        lines = [
            each for each in self.instruments.render().splitlines() if each.startswith(f"{name} ")
        ]
        return float(lines[0].rpartition(" ")[2]) if lines else 0


@asynccontextmanager
async def mesh(
    patience: timedelta = timedelta(seconds=10), deadline: timedelta = timedelta(seconds=5)
) -> AsyncIterator[Mesh]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = Mesh(tasks, patience, deadline)
        yield running
        for each in running.built:
            each.go.set()
        await running.engine.close()


def slow(params: str = "{message: a}", name: str = "h") -> str:
    return f"""
kind: handler
metadata: {{name: {name}}}
spec: {{compiledAdapter: slow, params: {params}}}
---
"""


USE = rule("r", action("h"))


async def test_it_is_an_engine() -> None:
    async with mesh() as running:
        engine: Engine = running.engine
        verdict = await engine.check({}, {"q": QuotaAsk(2)})
        assert verdict.status.code == 0
        assert verdict.quotas["q"].amount == 2
        assert await engine.report([{}]) == ()
        assert "source.namespace" in engine.report_reads
        assert "a" not in engine.check_reads


async def test_a_call_finishes_on_the_table_it_began_with() -> None:
    """D10, L27."""
    async with mesh() as running:
        await running.configure(slow("{message: old}"), USE)
        (old,) = running.built
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(running.engine.check({}))
            await old.entered.wait()
            await running.configure(slow("{message: new}"), USE)
            _, new = running.built
            new.go.set()
            verdict = await running.engine.check({})
            assert verdict.status.message == "h.istio-system:new"
            assert not old.closed.is_set()
            old.go.set()
        assert call.result().status.message == "h.istio-system:old"
        await old.closed.wait()
        assert not new.closed.is_set()


async def test_an_adapter_that_does_not_answer_hurts_no_other_request() -> None:
    """A23, L16: its own requests fail after the deadline, others are answered meanwhile."""
    async with mesh(deadline=timedelta(milliseconds=200)) as running:
        panics = "{kind: handler, metadata: {name: p}, spec: {compiledAdapter: script, params: "
        await running.configure(
            slow(),
            panics + "{panic: oops}}}\n---\n",
            rule("stuck", action("h.istio-system", "nothing.istio-system"), namespace="shop"),
            rule("panic", action("p.istio-system", "nothing.istio-system"), namespace="web"),
        )
        (stuck,) = running.built

        async def failed(namespace: str) -> str:
            with pytest.raises(CheckFailed) as error:
                await running.engine.check({"destination.namespace": namespace})
            return str(error.value)

        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(failed("shop")) for _ in range(3)]
            await stuck.entered.wait()
            assert (await running.engine.check({})).status.code == 0
            assert await failed("web") == (
                "performing check operation failed: panic during handler dispatch: oops"
            )
            assert (await running.engine.check({"destination.namespace": "else"})).status.code == 0
        assert {each.result() for each in waiting} == {
            "performing check operation failed: handler 'h.istio-system' did not answer in time"
        }
        stuck.go.set()
        verdict = await running.engine.check({"destination.namespace": "shop"})
        assert verdict.status.message == "h.istio-system:a"


async def test_an_unchanged_handler_is_kept() -> None:
    """D10, L27: with its state."""
    async with mesh() as running:
        await running.configure(slow(), USE)
        await running.configure(slow(), USE, rule("other", action("h")))
        await running.configure(slow(), slow("{message: b}", "k"), USE, rule("o", action("k")))
        kept, added = running.built
        assert not kept.closed.is_set()
        assert added.params["message"] == "b"
        assert running.count("mixer_handler_new_handlers_total") == 2
        assert running.count("mixer_handler_reused_handlers_total") == 2


async def test_a_handler_that_is_used_no_more_is_closed() -> None:
    """D10, L27."""
    async with mesh() as running:
        await running.configure(slow(), USE)
        await running.built[0].worked.wait()
        assert running.count("mixer_handler_daemons_total") == 1
        await running.configure()
        await running.built[0].closed.wait()
    assert running.count("mixer_handler_closed_handlers_total") == 1
    assert running.count("mixer_handler_daemons_total") == 0


async def test_handlers_are_closed_in_the_end() -> None:
    """D10, L48."""
    async with mesh() as running:
        await running.configure(slow(), USE)
    assert running.built[0].closed.is_set()


async def test_a_handler_is_prepared_before_it_is_asked() -> None:
    async with mesh() as running:
        await running.configure(slow(), USE)
        assert running.built[0].prepared


@pytest.mark.parametrize("trouble", ["build_error", "build_panic"])
async def test_a_handler_that_cannot_be_built_loses_its_actions_only(trouble: str) -> None:
    """D9: counted, by an error and by a panic."""
    async with mesh() as running:
        await running.configure(
            f"{{kind: handler, metadata: {{name: bad}},"
            f" spec: {{compiledAdapter: script, params: {{{trouble}: oops}}}}}}\n---\n",
            "{kind: handler, metadata: {name: good},"
            " spec: {compiledAdapter: script, params: {code: 7, message: x}}}\n---\n",
            rule("r", action("bad") + ", " + action("good")),
        )
        assert (await running.engine.check({})).status.message == "good.istio-system:x"
        assert running.count("mixer_handler_handler_build_failures_total") == 1
        applied = running.engine.applied.value
        assert applied.handlers == 1
        assert applied.failures.keys() == {"bad.handler.istio-system"}
        assert "oops" in applied.failures["bad.handler.istio-system"]


async def test_handlers_are_prepared_side_by_side() -> None:
    """D9: one that waits for what does not answer keeps no other one."""
    async with mesh(timedelta(hours=1)) as running, asyncio.TaskGroup() as tasks:
        params = "{message: a, dawdle: true}"
        both = rule("r", action("h") + ", " + action("k"))
        tasks.create_task(running.configure(slow(params), slow(params, "k"), both))
        await until(lambda: len(running.built) == 2)
        for handler in running.built:
            assert not handler.prepared
            handler.go.set()


async def test_a_handler_that_cannot_be_prepared_is_not_built() -> None:
    """D9."""
    async with mesh() as running:
        await running.configure(slow("{refuse: true}"), USE)
        assert (await running.engine.check({})).status.code == 0
        assert running.count("mixer_handler_handler_build_failures_total") == 1


async def test_a_handler_that_could_not_be_built_is_tried_again() -> None:
    async with mesh() as running:
        for _ in range(2):
            await running.configure(slow("{refuse: true}"), USE)
        assert len(running.built) == 2


async def test_a_handler_that_takes_long_to_prepare_serves_as_it_is() -> None:
    async with mesh(timedelta(milliseconds=20)) as running:
        await running.configure(slow("{message: a, dawdle: true}"), USE)
        (handler,) = running.built
        assert not handler.prepared
        handler.go.set()
        assert (await running.engine.check({})).status.message == "h.istio-system:a"


async def test_handlers_of_calls_that_do_not_end_are_closed_all_the_same() -> None:
    """D10: given up after the time to drain."""
    async with mesh(timedelta(milliseconds=20)) as running:
        await running.configure(slow(), USE)
        (old,) = running.built
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(running.engine.check({}))
            await old.entered.wait()
            await running.configure()
            await old.closed.wait()
            assert not call.done()
            old.go.set()


async def test_a_worker_that_does_not_stop_is_left() -> None:
    """D10: and told."""
    async with mesh(timedelta(milliseconds=20)) as running:
        await running.configure(slow("{message: a, stubborn: true}"), USE)
        (handler,) = running.built
        await handler.worked.wait()
        await running.configure()
        await handler.stopping.wait()
        while not running.count("mixer_handler_handler_close_failures_total"):
            await handler.stopping.wait()
            await asyncio.to_thread(int)
        handler.go.set()


async def test_a_handler_delivers_before_its_work_is_stopped() -> None:
    async with mesh() as running:
        await running.configure(slow("{message: a}"), USE)
        (handler,) = running.built
        await handler.worked.wait()
        await running.configure()
        await handler.stopping.wait()
        assert handler.closed.is_set()


async def test_work_that_crashes_is_taken_up_again() -> None:
    async with mesh() as running:
        await running.configure(slow("{message: a, crashes: 2}"), USE)
        (handler,) = running.built
        await handler.worked.wait()
        assert handler.runs == 3


async def test_a_handler_that_cannot_be_closed_is_counted() -> None:
    async with mesh() as running:
        await running.configure(slow("{hold: true}"), USE)
    assert running.count("mixer_handler_handler_close_failures_total") == 1


async def test_no_call_fails_while_configurations_are_swapped() -> None:
    """Each verdict is of one configuration; a mixture would carry two names."""
    one = "{kind: handler, metadata: {name: %s}, spec: {compiledAdapter: script, params: {code: 7, message: v%d}}}\n---\n"  # noqa: E501
    seen: set[str] = set()
    async with mesh() as running:

        async def ask(stop: asyncio.Event) -> None:
            while not stop.is_set():
                verdict = await running.engine.check({})
                seen.add(verdict.status.message)
                await asyncio.sleep(0)

        stop = asyncio.Event()
        await running.configure(one % ("a", 0), one % ("b", 0),
                                rule("r", action("a") + "," + action("b")))  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(ask(stop))
            for version in range(1, 20):
                await running.configure(one % ("a", version), one % ("b", version),
                                        rule("r", action("a") + "," + action("b")))  # fmt: skip
                await asyncio.sleep(0)
            stop.set()
    assert seen <= {f"a.istio-system:v{n}, b.istio-system:v{n}" for n in range(20)}
    assert len(seen) > 5


async def test_what_a_table_complains_about_is_bounded() -> None:
    """A33: callers choose the names of quotas."""
    async with mesh() as running:
        for number in range(2000):
            await running.engine.check({}, {f"q{number}": QuotaAsk(1)})
        assert len(running.engine._table._told) == 1000  # noqa: SLF001  memory is the point


async def test_failures_pass_through_and_leave_the_table() -> None:
    async with mesh() as running:
        await running.configure(
            "{kind: handler, metadata: {name: h},"
            " spec: {compiledAdapter: script, params: {error: gone}}}\n---\n",
            USE,
        )
        with pytest.raises(CheckFailed, match="gone"):
            await running.engine.check({})
        assert running.engine._table.users == 0  # noqa: SLF001  or it would never be retired


async def test_configuration_counts_are_told() -> None:
    """I: gauges of the configuration in force."""
    async with mesh() as running:
        await running.configure(rule("bad", action("gone")))
        assert running.count("mixer_config_rule_configs_total") == 1
        assert running.count("mixer_config_rule_config_errors_total") == 1
        assert running.count("mixer_config_unsatisfied_action_handler_total") == 1
        assert running.count("mixer_config_attributes_total") == 7
        await running.configure(slow(), USE)
        varieties = 'mixer_dispatcher_destinations_per_variety_total{variety="%s"}'
        assert running.count(varieties % "CHECK") == 1
        assert running.count(varieties % "REPORT") == 0
        await running.configure()
        assert running.count("mixer_config_rule_configs_total") == 0


async def test_a_problem_is_logged_once_while_it_lasts() -> None:
    """D7: the status holds it as long; the log tells when it came."""
    bad = rule("bad", action("gone"))
    async with mesh() as running:
        with log_events() as events:
            for more in ((bad,), (bad, slow(), USE), (), (bad,)):
                await running.configure(*more)
            logged = [events.get_nowait() for _ in range(events.qsize())]
        texts = [each["error"] for each in logged if each["event"] == "config.problem"]
        assert texts == ["Handler not found: handler='gone'", "No valid actions found in rule"] * 2
        counted = [each["problems"] for each in logged if each["event"] == "config.applied"]
        assert counted == [2, 2, 0, 2]


async def test_match_errors_are_counted_by_rule() -> None:
    """A20."""
    async with mesh() as running:
        await running.configure(slow(), rule("r", action("h"), match='a == "x"'))
        await running.engine.check({})
        text = running.instruments.render()
        assert 'mixer_runtime_rule_match_errors_total{rule="r.rule.istio-system"} 1' in text
