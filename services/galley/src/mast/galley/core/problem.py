"""What is wrong with a configuration object, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

# Field names, map keys and list indices from the top of an object, e.g. ("spec", "http", 0).
Path = tuple[str | int, ...]

_PLAIN = re.compile(r"[A-Za-z0-9_/-]+")


class Severity(Enum):
    """Whether a finding prevents the object from being stored."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Position:
    """Where something was written: 1-based line and column, 0 if it was not text."""

    line: int = 0
    column: int = 0


NOWHERE = Position()


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule at a field; ``rule`` is a short stable name, ``message`` a whole sentence."""

    path: Path
    rule: str
    message: str
    severity: Severity = Severity.ERROR


# Longer texts are cut: users write values of any length, and a report travels in gRPC trailers.
TEXT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding about one object of one source; long texts in it are cut.

    ``document`` is where the object begins, if that is known.
    """

    rule: str
    message: str
    path: str = ""
    severity: Severity = Severity.ERROR
    source: str = ""
    position: Position = NOWHERE
    kind: str = ""
    namespace: str = ""
    name: str = ""
    document: Position = NOWHERE

    def __post_init__(self) -> None:
        for field in ("message", "path", "kind", "name", "namespace"):
            object.__setattr__(self, field, _cut(getattr(self, field)))

    @property
    def about(self) -> tuple[str, str, str]:
        """Which object it is about: kind, namespace, name."""
        return self.kind, self.namespace, self.name

    def __str__(self) -> str:
        """``file:line:column: error: Kind ns/name: path: message [rule]``, as compilers write."""
        place = self.source
        if self.position.line:
            place += f":{self.position.line}:{self.position.column}"
        named = f"{self.namespace}/{self.name}" if self.namespace else self.name
        parts = [place, self.severity.value, f"{self.kind} {named}".strip(), self.path]
        return ": ".join(filter(None, [*parts, f"{self.message} [{self.rule}]"]))


def about(kind: str, namespace: str, name: str) -> tuple[str, str, str]:
    """What ``Problem.about`` is for problems of this object."""
    return _cut(kind), _cut(namespace), _cut(name)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT - 1]}…"


class InvalidConfig(Exception):
    """Nothing was stored because of these problems; warnings may be among them."""

    def __init__(self, problems: Iterable[Problem], objects: int = 0) -> None:
        self.problems = tuple(problems)
        self.objects = objects
        found = errors(self.problems)
        first = str(found[0]) if found else ""
        more = f" (and {len(found) - 1} more errors)" if len(found) > 1 else ""
        super().__init__(f"configuration is invalid: {first}{more}")


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """Those that prevent storing."""
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def warning(path: Path, rule: str, message: str) -> Finding:
    """A finding that does not prevent storing."""
    return Finding(path, rule, message, Severity.WARNING)


def path_text(path: Path) -> str:
    """``spec.http[0].headers["x.y"].exact``: indices and unusual keys in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def located(problems: Iterable[Problem], source: str) -> list[Problem]:
    """The problems as problems of a source."""
    return [replace(problem, source=source) for problem in problems]
