"""Why a pod that should get a proxy cannot have one."""

from __future__ import annotations

from collections.abc import Iterable


class InjectionRefused(ValueError):
    """Nothing was injected; each problem names what is wrong, its value and what is allowed."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def shortened(text: str) -> str:
    """A value as a message quotes it."""
    return repr(text if len(text) <= 120 else f"{text[:117]}...")
