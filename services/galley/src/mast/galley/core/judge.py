"""The judgement on a request: its objects and everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mast.galley.core import rules
from mast.galley.core.objects import (
    Compat,
    ConfigObject,
    Defaults,
    Reading,
    read_object,
    read_text,
)
from mast.galley.core.problem import InvalidConfig, Problem, Severity, errors
from mastapi.galley.v1 import config_pb2


@dataclass(frozen=True, slots=True)
class Judgement:
    """Objects in the order they were given; problems by source and line."""

    objects: tuple[ConfigObject, ...]
    problems: tuple[Problem, ...]

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Findings that do not prevent storing."""
        return tuple(p for p in self.problems if p.severity is Severity.WARNING)

    def insist(self) -> None:
        """Raise InvalidConfig if there is an error."""
        if errors(self.problems):
            raise InvalidConfig(self.problems, len(self.objects))


def read(
    sources: Iterable[config_pb2.Source],
    objects: Iterable[config_pb2.Object],
    defaults: Defaults,
) -> Reading:
    """Everything a request holds, read but not judged."""
    texts = (read_text(each.text, each.name or "-", defaults) for each in sources)
    messages = (
        read_object(message, f"objects[{index}]", defaults) for index, message in enumerate(objects)
    )
    return Reading.joined((*texts, *messages))


def judge(reading: Reading, compat: Compat = Compat.CURRENT) -> Judgement:
    """Apply every rule to every object; an object given twice is an error as well."""
    found = list(reading.problems)
    first: dict[str, ConfigObject] = {}
    for obj in reading.objects:
        found += [obj.problem(finding) for finding in rules.check(obj, compat)]
        found += _given_twice(obj, first.setdefault(obj.key, obj))
    return Judgement(reading.objects, tuple(_in_order(reading, found)))


def _given_twice(obj: ConfigObject, first: ConfigObject) -> list[Problem]:
    if first is obj:
        return []
    where = f"{first.source}:{first.position.line}" if first.position.line else first.source
    return [
        Problem(
            "duplicate-object",
            f"the object is given twice; first at {where}",
            source=obj.source,
            position=obj.position,
            kind=obj.kind.name,
            namespace=obj.meta.namespace,
            name=obj.meta.name,
            document=obj.position,
        )
    ]


def _in_order(reading: Reading, found: Sequence[Problem]) -> list[Problem]:
    """Sources as they were given, lines from the top."""
    sources: dict[str, int] = {}
    for source in (item.source for group in (reading.objects, found) for item in group):
        sources.setdefault(source, len(sources))
    return sorted(
        found, key=lambda p: (sources[p.source], p.position.line, p.position.column, p.path)
    )
