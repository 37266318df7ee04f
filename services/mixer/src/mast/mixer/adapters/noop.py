"""Adapter ``noop``: allows everything, takes everything, does nothing (mixer.md G.1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.empty_pb2 import Empty

from mast.mixer.core.adapter import (
    Adapter,
    Batch,
    CheckResult,
    HandlerConfig,
    Instance,
    QuotaArguments,
    QuotaResult,
)

FOREVER = timedelta(seconds=1_000_000_000)
USES = 1_000_000_000


class Noop:
    """OK for a long time; every quota in full."""

    def check(self, _: Instance) -> CheckResult:
        """Allowed."""
        return CheckResult(valid_duration=FOREVER, valid_use_count=USES)

    def quota(self, _: Instance, arguments: QuotaArguments) -> QuotaResult:
        """As much as was asked for."""
        return QuotaResult(arguments.amount + arguments.stock, FOREVER)

    def report(self, _: Sequence[Batch]) -> Sequence[str]:
        """Taken."""
        return ()


def _build(_: HandlerConfig) -> Noop:
    return Noop()


ADAPTER = Adapter(
    name="noop",
    templates=frozenset(
        {
            "authorization",
            "checknothing",
            "reportnothing",
            "listentry",
            "logentry",
            "metric",
            "quota",
            "tracespan",
        }
    ),
    defaults=Empty(),
    build=_build,
)
