"""What Mixer answers and how its faces ask: the contract between `api` and everything behind it.

A face (``istio.mixer.v1.Mixer``, Envoy ext_authz, Envoy access logs) turns its own messages into
:data:`~mast.mixer.core.values.Attributes`, awaits an :class:`Engine` and turns the verdict back.
Attributes are plain mappings with the value types of :mod:`mast.mixer.core.values`; an attribute
that the request does not have is simply not in the mapping (never ``None``, never ``""``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import NamedTuple, Protocol

from mast.mixer.core.values import Attributes

OK = 0


class Condition(IntEnum):
    """What a verdict depends on about an attribute; numbers are those of the wire (A7)."""

    ABSENCE = 1
    EXACT = 2
    REGEX = 3


class Reference(NamedTuple):
    """One attribute, or one key of a string map, that a verdict depends on.

    ``map_key`` is None for the attribute itself. Mixer never produces REGEX (A7).
    """

    name: str
    map_key: str | None
    condition: Condition


class Operation(IntEnum):
    """What to do with a header; numbers are those of the wire."""

    REPLACE = 0
    REMOVE = 1
    APPEND = 2


@dataclass(frozen=True, slots=True)
class HeaderOperation:
    """One change to a request's or response's headers; REMOVE has no value."""

    name: str
    value: str = ""
    operation: Operation = Operation.REPLACE


@dataclass(frozen=True, slots=True)
class RouteDirective:
    """Changes to headers and, if the code is not 0, the answer to give instead (A27 to A29)."""

    request_operations: tuple[HeaderOperation, ...] = ()
    response_operations: tuple[HeaderOperation, ...] = ()
    direct_response_code: int = 0
    direct_response_body: str = ""

    def __bool__(self) -> bool:
        return bool(
            self.request_operations
            or self.response_operations
            or self.direct_response_code
            or self.direct_response_body
        )


@dataclass(frozen=True, slots=True)
class Status:
    """A google.rpc.Status without details; code 0 is OK."""

    code: int = OK
    message: str = ""


SUCCESS = Status()


@dataclass(frozen=True, slots=True)
class QuotaAsk:
    """How much of a quota a request wants (A32, A35); with ``best_effort`` less will do.

    ``stock`` is what its proxy would keep of it for requests to come (C10).
    """

    amount: int
    best_effort: bool = False
    stock: int = 0


@dataclass(frozen=True, slots=True)
class QuotaGrant:
    """How much of a quota was granted, for how long, and what that depends on (A12)."""

    amount: int
    valid_duration: timedelta
    referenced: tuple[Reference, ...] = ()
    status: Status = SUCCESS


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """The answer to a check.

    The verdict holds for every request that agrees in all of ``referenced``, for
    ``valid_duration`` and at most ``valid_use_count`` uses (0 = do not reuse). ``referenced`` is
    exact and complete, each pair of name and map key once, in the order of first reading.
    ``quotas`` is empty unless the status is OK (A31).
    """

    status: Status
    valid_duration: timedelta
    valid_use_count: int
    referenced: tuple[Reference, ...]
    directive: RouteDirective | None = None
    quotas: Mapping[str, QuotaGrant] = field(default_factory=dict)


class CheckFailed(Exception):
    """No verdict: an adapter or an instance failed (A14, A21, A23). The status is INTERNAL."""


@dataclass(frozen=True, slots=True)
class Reads:
    """The request attributes that the current configuration can read.

    ``names`` are whole attributes. ``keys`` are the keys read of string maps; a map name that is
    also in ``names`` may be read as a whole. A face may leave everything else out of the
    attributes it builds: the outcome is the same.
    """

    names: frozenset[str] = frozenset()
    keys: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def attributes(self) -> frozenset[str]:
        """The names of all attributes that can be read, wholly or by key."""
        return self.names.union(self.keys)

    def __contains__(self, name: object) -> bool:
        return name in self.names or name in self.keys


class Engine(Protocol):
    """Evaluates requests against the configuration of the moment."""

    @property
    def check_reads(self) -> Reads:
        """What :meth:`check` can read; replaced as a whole when the configuration changes."""
        ...

    @property
    def report_reads(self) -> Reads:
        """What :meth:`report` can read; replaced as a whole when the configuration changes."""
        ...

    async def check(
        self,
        attributes: Attributes,
        quotas: Mapping[str, QuotaAsk] | None = None,
        *,
        deduplication_id: str = "",
    ) -> CheckVerdict:
        """Preprocess, check, and if the answer is OK allocate ``quotas`` (mixer.md A, A31).

        Quotas are named as in a QuotaSpec (short names); equal ``deduplication_id`` and name get
        the same grant. Raises CheckFailed when there is no verdict; never raises because of one
        quota (A34).
        """
        ...

    async def report(self, records: Sequence[Attributes]) -> Sequence[str]:
        """Preprocess and dispatch a batch of records, in order; flush once (mixer.md B3).

        Gives the texts of everything that went wrong, each once; what could be delivered was.
        Records that agree in the attributes which labels are made of are handled together, so
        one large batch is much cheaper than many small ones.
        """
        ...
