"""What an adapter is: the calls it takes, the answers it gives, how a handler is made of it.

A handler may answer at once or with an awaitable; the core never waits itself. Signatures follow
the template varieties (mixer.md F, G.1).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from mast.common.expressions.types import ValueType
from mast.mixer.core.engine import SUCCESS, Status
from mast.mixer.core.metric_overrides import NO_OVERRIDES, MetricOverrides
from mast.mixer.core.values import Value

T = TypeVar("T")
Answer: TypeAlias = T | Awaitable[T]


class AdapterError(Exception):
    """A handler could not answer; the text is part of what the caller sees (A23)."""


@dataclass(slots=True)
class Instance:
    """Values of a template's fields for one request, as a handler sees them.

    ``name`` is the FQN (F1). ``fields`` has every field of the template under its name in the
    .proto: unset texts are "", numbers 0, maps empty, the rest None (E26). ``memo`` belongs to
    the handler: an instance is given again as long as records agree in all its fields.
    ``overrides`` is for handlers that keep metrics.
    """

    name: str
    template: str
    fields: Mapping[str, Any]
    memo: Any = None
    overrides: MetricOverrides = NO_OVERRIDES


@dataclass(slots=True)
class Batch:
    """Records that one instance describes: ``count`` of them.

    For template ``metric`` the fields have no ``value``; ``values`` has one per record instead,
    None if the operator left it empty.
    """

    instance: Instance
    values: Sequence[Value | None] | None = None
    count: int = 1

    def instances(self) -> Iterator[Instance]:
        """The records one by one."""
        if self.values is None:
            for _ in range(self.count):
                yield self.instance
            return
        for value in self.values:
            yield replace(self.instance, fields={"value": value, **self.instance.fields})


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """An HTTP answer to give instead of forwarding the request (A27); code 0 means by status."""

    code: int = 0
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A handler's verdict, how long and how often it may be used, and check output (A24, A29)."""

    status: Status = SUCCESS
    valid_duration: timedelta = timedelta()
    valid_use_count: int = 0
    direct_response: DirectResponse | None = None
    output: Mapping[str, Value] = field(default_factory=dict)

    @property
    def default(self) -> bool:
        """Whether it says nothing: OK without any validity (A26)."""
        return not (self.status.code or self.valid_duration or self.valid_use_count)


STOCKS: Final = 128
"""So many stocks are there in what is left of a quota. Less than that is given out one by one."""


@dataclass(frozen=True, slots=True)
class QuotaArguments:
    """How much of a quota to allocate (A32); a negative amount gives back.

    Beside the whole amount an adapter may grant some of ``stock``, see :func:`spared`.
    """

    amount: int
    best_effort: bool = False
    deduplication_id: str = ""
    stock: int = 0


def spared(stock: int, rest: int) -> int:
    """How much of a stock is granted where so much of a quota is left.

    So little that whoever keeps it is short of it long before others are refused: what lies unused
    at one place is missing at another, and a quota would not be used up.
    """
    return min(stock, rest // STOCKS)


@dataclass(frozen=True, slots=True)
class QuotaResult:
    """What was granted."""

    amount: int = 0
    valid_duration: timedelta = timedelta()
    status: Status = SUCCESS


class Handler(Protocol):
    """A configured adapter. It has those of the following methods that its templates need."""


class CheckHandler(Handler, Protocol):
    """Takes CHECK templates."""

    def check(self, instance: Instance) -> Answer[CheckResult]:
        """The verdict for one instance; raises AdapterError."""
        ...


class QuotaHandler(Handler, Protocol):
    """Takes QUOTA templates."""

    def quota(self, instance: Instance, arguments: QuotaArguments) -> Answer[QuotaResult]:
        """Allocate; raises AdapterError."""
        ...


class ReportHandler(Handler, Protocol):
    """Takes REPORT templates."""

    def report(self, batches: Sequence[Batch]) -> Answer[Sequence[str]]:
        """Take records; gives the texts of what went wrong, the rest was taken (B3)."""
        ...


class AttributeGenerator(Handler, Protocol):
    """Takes ATTRIBUTE_GENERATOR templates.

    ``generation`` changes whenever equal instances may get other answers than before; None means
    that no answer may be kept.
    """

    @property
    def generation(self) -> object | None:
        """Identifies the state that answers are made from."""
        ...

    def generate(self, instance: Instance) -> Answer[Mapping[str, Value]]:
        """Output fields that are known, by name (F2); raises AdapterError."""
        ...


class Worker(Handler, Protocol):
    """A handler with work of its own beside the calls."""

    async def prepare(self) -> None:
        """Do what should be done before the first call.

        Raises AdapterError if the handler cannot work at all; what may pass is no reason.
        """
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class Closing(Handler, Protocol):
    """A handler that holds something."""

    async def close(self) -> None:
        """Deliver what is buffered and let go of everything."""
        ...


@dataclass(frozen=True, slots=True)
class InstanceType:
    """An instance that a handler will get: its FQN, template and inferred types by path (D9).

    Paths are like ``value`` and ``dimensions[source_app]``.
    """

    name: str
    template: str
    types: Mapping[str, ValueType]


@dataclass(frozen=True, slots=True)
class HandlerConfig:
    """Everything a handler is made from (D9, D10)."""

    name: str
    adapter: str
    params: Any
    instances: tuple[InstanceType, ...] = ()


def no_problems(_: HandlerConfig) -> Sequence[str]:
    """The validation of an adapter whose params cannot be wrong."""
    return ()


@dataclass(frozen=True, slots=True)
class Adapter:
    """A compiled adapter: its name, templates, Params with defaults, and how to build handlers.

    ``validate`` gives all problems of a configuration. ``build`` may raise AdapterError.
    """

    name: str
    templates: frozenset[str]
    defaults: Message
    build: Callable[[HandlerConfig], Handler]
    validate: Callable[[HandlerConfig], Sequence[str]] = no_problems
