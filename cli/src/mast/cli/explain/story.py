"""What is told of a request: steps, each with its result, details and causes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cause:
    """A configuration object, the field of it that counts, and ``file:line`` if it is in a file."""

    kind: str
    namespace: str
    name: str
    field: str = ""
    where: str = ""

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        where = f"({self.where})" if self.where else ""
        return " ".join(filter(None, [self.kind, name, self.field, where]))


@dataclass(frozen=True)
class Judged:
    """What one rule of access says: ``lacking`` is why it does not match, empty if it does.

    ``rule`` is its name in Envoy; without ``enforced`` it changes nothing.
    """

    action: str
    rule: str
    lacking: str
    cause: Cause | None
    enforced: bool


@dataclass(frozen=True)
class Step:
    """One decision: what was decided, the result, and why."""

    what: str
    result: str
    details: Sequence[str] = ()
    causes: Sequence[Cause] = ()


@dataclass
class Story:
    """Everything that is decided about a request, in order.

    ``clusters`` are where it may go, in percent; ``status`` is the answer of a proxy that does not
    pass the request on, 0 if it does. ``access`` are the rules that were tried, ``authorizers`` the
    clusters that are asked as well, and may refuse.
    """

    steps: list[Step] = field(default_factory=list)
    access: list[Judged] = field(default_factory=list)
    authorizers: list[str] = field(default_factory=list)
    status: int = 0
    clusters: dict[str, float] = field(default_factory=dict)

    def tell(
        self,
        what: str,
        result: str,
        details: Iterable[str] = (),
        causes: Iterable[Cause] = (),
    ) -> None:
        """Add a step."""
        self.steps.append(Step(what, result, tuple(details), tuple(causes)))

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "status": self.status,
            "clusters": [
                {"name": name, "percent": round(share, 3)} for name, share in self.clusters.items()
            ],
            "steps": [
                {
                    "step": each.what,
                    "result": each.result,
                    "details": list(each.details),
                    "causes": [
                        {key: value for key, value in vars(cause).items() if value}
                        for cause in each.causes
                    ],
                }
                for each in self.steps
            ],
        }

    def text(self) -> str:
        """The same for people."""
        lines = []
        width = max((len(each.what) for each in self.steps), default=0)
        indent = " " * (len(str(len(self.steps))) + width + 4)
        for number, each in enumerate(self.steps, 1):
            place = str(number).rjust(len(str(len(self.steps))))
            lines.append(f"{place}. {each.what.ljust(width)}  {each.result}")
            lines += [f"{indent}{detail}" for detail in each.details]
            lines += [f"{indent}<- {cause}" for cause in each.causes]
        return "\n".join(lines) + "\n"
