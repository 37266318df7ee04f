"""Galley's own metrics, by Istio's names (galley-and-kubernetes.md A3.5)."""

from __future__ import annotations

from datetime import timedelta

from mast.common.kinds import Kind
from mast.common.process.telemetry import Metrics
from mast.galley.core.admission.review import Verdict
from mast.galley.core.judge import Judgement
from mast.galley.core.problem import errors


class GalleyMetrics:
    """Counts what was judged."""

    def __init__(self, metrics: Metrics) -> None:
        self._passed = metrics.counter("galley_validation_passed", "Objects found valid.")
        self._failed = metrics.counter("galley_validation_failed", "Objects found invalid.")
        self._unanswered = metrics.counter(
            "galley_validation_http_error", "Calls of webhooks that were no reviews, by status."
        )
        counter = "sidecar_injection_{}_total".format
        self._requests = metrics.counter(
            counter("requests"), "Pods that webhooks were asked about."
        )
        self._injected = metrics.counter(counter("success"), "Pods that got their proxies.")
        self._uninjected = metrics.counter(counter("failure"), "Pods that could not get theirs.")
        self._skipped = metrics.counter(counter("skip"), "Pods that are to have none.")
        self._injecting = metrics.histogram(
            "sidecar_injection_time_seconds", "Time from request to answer, in seconds."
        )
        self._sources = metrics.gauge(
            "galley_source_objects", "Objects that a configuration source holds."
        )
        self._problems = metrics.gauge(
            "galley_source_problems", "Errors in a configuration source; last good objects stay."
        )

    def judged(self, judgement: Judgement) -> None:
        """Count each object once: as passed, or as failed for the rule it broke first."""
        reasons: dict[tuple[str, str, str], str] = {}
        for problem in errors(judgement.problems):
            reasons.setdefault(problem.about, problem.rule)
        for obj in judgement.objects:
            labels = {
                "group": obj.kind.group,
                "version": obj.kind.storage_version,
                "resource": obj.kind.plural,
            }
            reason = reasons.pop(obj.about, None)
            if reason is None:
                self._passed.add(1, **labels)
            else:
                self._failed.add(1, reason=reason, **labels)
        for (kind, _, _), reason in reasons.items():
            self._failed.add(1, group="", version="", resource=kind, reason=reason)

    def reviewed(self, kind: Kind | None, verdict: Verdict) -> None:
        """Count an object that an API server asked about; one of no known kind has no labels.

        What callers write of group and version is not counted by: they could fill the memory.
        """
        labels = dict.fromkeys(("group", "version", "resource"), "")
        if kind is not None:
            labels = {
                "group": kind.group,
                "version": kind.storage_version,
                "resource": kind.plural,
            }
        if not verdict.allowed:
            self._failed.add(1, reason=verdict.reason, **labels)
        elif verdict.judged:
            self._passed.add(1, **labels)

    def unanswered(self, status: int) -> None:
        """Count a call that ended with an HTTP error."""
        self._unanswered.add(1, status=str(status))

    def injected(self, verdict: Verdict, spent: timedelta) -> None:
        """Count a pod by what became of it."""
        self._requests.add()
        self._injecting.record(spent.total_seconds())
        if not verdict.allowed:
            self._uninjected.add()
        elif verdict.judged:
            self._injected.add()
        else:
            self._skipped.add()

    def uninjected(self) -> None:
        """Count a call that ended with an HTTP error."""
        self._requests.add()
        self._uninjected.add()

    def source(self, name: str, objects: int, problems: int) -> None:
        """Tell what a source holds."""
        self._sources.set(objects, source=name)
        self._problems.set(problems, source=name)
