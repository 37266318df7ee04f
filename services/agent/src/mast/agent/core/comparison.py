"""What of our rules is there, compared with what is wanted (citadel-and-agent.md C4)."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """What is there compared with what is wanted."""

    NONE = "none"
    EQUAL = "equal"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Comparison:
    """The state of a set of rules; ``differences`` explain DIFFERENT."""

    state: State
    differences: tuple[str, ...] = ()
