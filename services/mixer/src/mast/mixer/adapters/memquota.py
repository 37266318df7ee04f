"""Adapter ``memquota``: quotas counted in this process (mixer.md G.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil

from google.protobuf.duration_pb2 import Duration

from istio.mixer.adapter.memquota.config.config_pb2 import Params
from mast.mixer.core.adapter import (
    Adapter,
    HandlerConfig,
    Instance,
    QuotaArguments,
    QuotaResult,
    spared,
)
from mast.mixer.core.values import Value, same, text

TICKS_PER_SECOND = 10

Dimensions = Mapping[str, Value]


@dataclass(slots=True)
class Cell:
    """What is in use of one quota for one set of dimensions.

    With a window of ``ticks`` > 0 amounts come free by themselves; without, only when given back.
    Differs from Istio: the window is one tick longer, so that within any span of the quota's
    duration, wherever it begins between ticks, no more than the limit is granted.
    """

    ticks: int
    used: int = 0
    spent: deque[tuple[int, int]] = field(default_factory=deque)

    def expire(self, tick: int) -> None:
        """Free what was granted before the window that ends with this tick."""
        while self.ticks and self.spent and self.spent[0][0] < tick - self.ticks:
            self.used -= self.spent.popleft()[1]

    def allocate(self, asked: QuotaArguments, limit: int, tick: int) -> int:
        """What is granted of a positive amount: all, the rest if that will do, or nothing.

        To all of it comes some of the stock where amounts come free by themselves: elsewhere it
        would be lost with whoever keeps it.
        """
        self.expire(tick)
        rest = max(limit - self.used, 0)
        granted = asked.amount if asked.amount <= rest else 0
        if granted and self.ticks:
            granted += spared(asked.stock, rest - granted)
        if not granted and asked.best_effort:
            granted = rest
        if granted:
            self.used += granted
            if self.ticks:
                self.spent.append((tick, granted))
        return granted

    def release(self, amount: int, tick: int) -> None:
        """Give back, the newest grants first."""
        self.expire(tick)
        self.used -= min(amount, self.used)
        while self.spent and amount:
            at, spent = self.spent.pop()
            if spent > amount:
                self.spent.append((at, spent - amount))
            amount -= min(amount, spent)


class Deduplication:
    """Answers by id, kept for one to two periods."""

    def __init__(self, period: timedelta, now: float) -> None:
        self._period = period.total_seconds()
        self._swapped = now
        self._recent: dict[tuple[str, str], QuotaResult] = {}
        self._old: dict[tuple[str, str], QuotaResult] = {}

    def find(self, instance: str, id: str, now: float) -> QuotaResult | None:
        """The answer given before to this id, if it is still kept."""
        if now - self._swapped >= self._period:
            fresh = now - self._swapped < 2 * self._period
            self._old, self._recent = (self._recent if fresh else {}), {}
            self._swapped = now
        return self._recent.get((instance, id)) or self._old.get((instance, id))

    def keep(self, instance: str, id: str, answer: QuotaResult) -> None:
        """Remember an answer."""
        self._recent[instance, id] = answer


class Limits:
    """The limits of a handler's quotas."""

    def __init__(self, params: Params) -> None:
        self._quotas = {quota.name: quota for quota in params.quotas}

    def of(self, name: str, dimensions: Dimensions) -> tuple[int, timedelta]:
        """Limit and window: those of the first override that fits, else the quota's own."""
        quota = self._quotas[name]
        for override in quota.overrides:
            if all(same(value, dimensions.get(key)) for key, value in override.dimensions.items()):
                return override.max_amount, override.valid_duration.ToTimedelta()
        return quota.max_amount, quota.valid_duration.ToTimedelta()


def window_ticks(duration: timedelta) -> int:
    """Length of a window; 0 if amounts do not come free by themselves."""
    return ceil(duration.total_seconds()) * TICKS_PER_SECOND


class Memquota:
    """All quotas of one handler."""

    def __init__(self, params: Params, clock: Callable[[], float]) -> None:
        """``clock`` counts seconds and never goes back."""
        self._clock = clock
        self._limits = Limits(params)
        period = params.min_deduplication_duration.ToTimedelta()
        self._answers = Deduplication(period, clock())
        self._cells: dict[str, Cell] = {}
        self._sweep_at = 1024

    def quota(self, instance: Instance, arguments: QuotaArguments) -> QuotaResult:
        """Allocate, or with a negative amount give back; equal ids get equal answers."""
        if not arguments.amount:
            return QuotaResult()
        now = self._clock()
        id = arguments.deduplication_id
        answer = self._answers.find(instance.name, id, now) if id else None
        if answer is None:
            answer = self._answer(instance, arguments, int(now * TICKS_PER_SECOND))
            if id:
                self._answers.keep(instance.name, id, answer)
        return answer

    def _answer(self, instance: Instance, arguments: QuotaArguments, tick: int) -> QuotaResult:
        dimensions: Dimensions = instance.fields["dimensions"]
        limit, duration = self._limits.of(instance.name, dimensions)
        cell = self._cell(cell_key(instance.name, dimensions), duration, tick)
        if arguments.amount < 0:
            cell.release(-arguments.amount, tick)
            return QuotaResult()
        return QuotaResult(cell.allocate(arguments, limit, tick), duration)

    def _cell(self, key: str, duration: timedelta, tick: int) -> Cell:
        cell = self._cells.get(key)
        if cell is None:
            if len(self._cells) >= self._sweep_at:
                self._sweep(tick)
            cell = self._cells[key] = Cell(window_ticks(duration))
        return cell

    def _sweep(self, tick: int) -> None:
        """Forget cells in which nothing is in use: dimensions may come and go without end."""
        for cell in self._cells.values():
            cell.expire(tick)
        self._cells = {key: cell for key, cell in self._cells.items() if cell.used}
        self._sweep_at = max(1024, 2 * len(self._cells))


def cell_key(name: str, dimensions: Dimensions) -> str:
    """``FQN;k=v;…`` with the keys sorted; overrides change the limit, not the key."""
    return ";".join([name, *(f"{key}={text(dimensions[key])}" for key in sorted(dimensions))])


def validate(config: HandlerConfig) -> Sequence[str]:
    """All problems of limits, and instances that have none."""
    params = config.params
    problems = [
        f"did not find limit defined for quota {instance.name}"
        for instance in config.instances
        if instance.name not in {quota.name for quota in params.quotas}
    ]
    window = params.min_deduplication_duration.ToTimedelta()
    if window <= timedelta():
        problems.append(
            f"min_deduplication_duration: deduplication window of {window} is invalid, must be > 0"
        )
    for index, quota in enumerate(params.quotas):
        for path, each in (("", quota), *_overrides(quota)):
            where = f"quotas[{index}]{path}"
            if each.max_amount < 0:
                problems.append(f"{where}.max_amount: {each.max_amount} is negative")
            if each.valid_duration.ToTimedelta() < timedelta():
                problems.append(f"{where}.valid_duration: must not be negative")
    return problems


def _overrides(quota: Params.Quota) -> list[tuple[str, Params.Override]]:
    return [(f".overrides[{index}]", each) for index, each in enumerate(quota.overrides)]


def adapter(clock: Callable[[], float]) -> Adapter:
    """The adapter with the clock that its windows follow."""

    def build(config: HandlerConfig) -> Memquota:
        return Memquota(config.params, clock)

    return Adapter(
        name="memquota",
        templates=frozenset({"quota"}),
        defaults=Params(min_deduplication_duration=Duration(seconds=1)),
        build=build,
        validate=validate,
    )
