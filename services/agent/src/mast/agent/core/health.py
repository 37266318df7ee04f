"""Health of a workload by its own readiness probe: thresholds, and what is worth telling (B9)."""

from dataclasses import dataclass
from datetime import timedelta

from istio.networking.v1alpha3.workload_group_pb2 import ReadinessProbe
from mast.agent.core.ads import Health


@dataclass(frozen=True)
class Pace:
    """How often to probe, how long one probe may take, how often it must agree."""

    delay: timedelta
    period: timedelta
    timeout: timedelta
    successes: int
    failures: int


def pace(probe: ReadinessProbe) -> Pace:
    """The probe's times and thresholds, with Istio's defaults for zero: 1 s, 10 s, once (B9)."""
    return Pace(
        delay=timedelta(seconds=probe.initial_delay_seconds),
        period=timedelta(seconds=probe.period_seconds or 10),
        timeout=timedelta(seconds=probe.timeout_seconds or 1),
        successes=probe.success_threshold or 1,
        failures=probe.failure_threshold or 1,
    )


@dataclass(slots=True)
class Verdicts:
    """The state of one probe. ``last`` is what was told last, None before the first verdict."""

    pace: Pace
    last: Health | None = None
    _streak: int = 0
    _streak_ok: bool = False

    def observe(self, problem: str) -> Health | None:
        """Count one result, empty if it was good; the verdict if it changed, else None."""
        healthy = not problem
        self._streak = self._streak + 1 if healthy == self._streak_ok else 1
        self._streak_ok = healthy
        needed = self.pace.successes if healthy else self.pace.failures
        if self._streak < needed or (
            self.last is not None and bool(self.last.detail) == bool(problem)
        ):
            return None
        self.last = Health(problem)
        return self.last
