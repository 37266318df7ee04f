"""A judgement document by document: which of them are valid, and what there is to say of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mast.galley.core.judge import Judgement
from mast.galley.core.manifests import Manifest
from mast.galley.core.objects import SKIPPED
from mast.galley.core.problem import NOWHERE, Position, Problem, Severity


@dataclass(slots=True)
class Verdict:
    """One document: where it begins, what it is as far as that is known, what was found.

    ``notes`` say why a document was not judged at all.
    """

    source: str
    position: Position
    kind: str = ""
    namespace: str = ""
    name: str = ""
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether it could be stored."""
        return not self.errors


def verdicts(judgement: Judgement, manifests: Iterable[Manifest] = ()) -> list[Verdict]:
    """A verdict for every object, and for every document that is none: by source and line.

    ``manifests`` were judged beside the objects, and are not skipped.
    """
    found: dict[tuple[str, Position], Verdict] = {}
    sources: dict[str, int] = {}
    for obj in judgement.objects:
        meta = obj.meta
        found[obj.source, obj.position] = Verdict(
            obj.source, obj.position, obj.kind.name, meta.namespace, meta.name
        )
        sources.setdefault(obj.source, len(sources))
    known = set()
    for each in manifests:
        known.add((each.source, each.position))
        found[each.source, each.position] = Verdict(
            each.source, each.position, each.kind, each.name.namespace, each.name.name
        )
        sources.setdefault(each.source, len(sources))
        for problem in each.problems:
            _told_in(found[each.source, each.position], problem).append(problem)
    for problem in judgement.problems:
        begin = problem.document if problem.document != NOWHERE else problem.position
        place = problem.source, begin
        if place in known and problem.rule == SKIPPED:
            continue
        if place not in found:
            found[place] = Verdict(
                problem.source, begin, problem.kind, problem.namespace, problem.name
            )
            sources.setdefault(problem.source, len(sources))
        _told_in(found[place], problem).append(problem)
    return sorted(
        found.values(),
        key=lambda each: (sources[each.source], each.position.line, each.position.column),
    )


def _told_in(verdict: Verdict, problem: Problem) -> list[Problem]:
    if problem.severity is Severity.ERROR:
        return verdict.errors
    return verdict.notes if problem.rule == SKIPPED else verdict.warnings
