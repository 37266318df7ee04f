"""Messages that somebody does not want to hear, by code and object."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from mast.galley.core.analysis.codes import CODES
from mast.galley.core.analysis.snapshot import Message


@dataclass(frozen=True)
class Suppression:
    """A code and a pattern of objects: ``Kind namespace/name`` with ``*`` for any text.

    ``Kind name.namespace``, as Istio once named objects, is understood as well.
    """

    code: str
    pattern: str

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(".*".join(map(re.escape, self.pattern.split("*"))), re.DOTALL)

    def covers(self, message: Message) -> bool:
        """Whether a message is one of these."""
        if message.code != self.code or message.item is None:
            return False
        item = message.item
        kind = item.kind.rpartition("/")[2]
        names = [item.origin]
        if item.namespace:
            names.append(f"{kind} {item.name}.{item.namespace}")
        return any(self._expression.fullmatch(name) for name in names)


def suppression(text: str) -> Suppression:
    """From ``CODE=OBJECT``, such as ``IST0102=Namespace foo``; ValueError says what is wrong."""
    code, equals, pattern = (part.strip() for part in text.partition("="))
    if not equals or not pattern:
        raise ValueError(f"{text!r} is no suppression; write for example 'IST0102=Namespace foo'")
    if code not in CODES:
        raise ValueError(f"{code!r} is no code; allowed: {min(CODES)} to {max(CODES)}, see -L")
    return Suppression(code, pattern)
