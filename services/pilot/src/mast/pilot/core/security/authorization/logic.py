"""And, or, not of conditions, for both halves of an RBAC policy: permissions and principals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Logic(Generic[T]):
    """How conditions of one kind are combined."""

    anything: Callable[[], T]
    all_of: Callable[[Sequence[T]], T]
    any_of: Callable[[Sequence[T]], T]
    negated: Callable[[T], T]
