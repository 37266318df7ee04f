"""What controllers wrote into the statuses of objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mast.galley.core.analysis import kinds, plain
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.findings import BAD_NEWS

_NEGATIVE = "IST0171"
_GROUPS = (".istio.io", "gateway.networking.k8s.io")
_KINDS = frozenset(
    {
        kinds.SERVICE,
        *(each for each in kinds.STORED if each.rpartition("/")[0].endswith(_GROUPS)),
    }
)


def _conditions(view: View) -> Iterator[Message]:
    for kind in sorted(_KINDS):
        for item in view.of(kind):
            for condition in _listed(item):
                name, status = plain.text(condition, "type"), _status(condition)
                if name and status == ("True" if name in BAD_NEWS else "False"):
                    why = ": ".join(
                        part
                        for part in (
                            plain.text(condition, "reason"),
                            plain.text(condition, "message"),
                        )
                        if part
                    )
                    text = f"condition {name} is {status}" + (f" ({why})" if why else "")
                    yield Message(_NEGATIVE, item, text, ("status",))


def _status(condition: Any) -> str:
    """`True`, `False` or `Unknown`; YAML without quotes has it as a boolean."""
    value = plain.at(condition, "status")
    return str(value) if isinstance(value, bool) else plain.text(condition, "status")


def _listed(item: Item) -> Iterator[Mapping[str, Any]]:
    """Conditions of an object, of its listeners and of what it is attached to."""
    yield from plain.listing(item.status, "conditions")
    for part in ("listeners", "parents", "ancestors"):
        for each in plain.listing(item.status, part):
            yield from plain.listing(each, "conditions")


ANALYZERS = (
    Analyzer(
        "status.conditions",
        "Controllers are content with objects.",
        frozenset({_NEGATIVE}),
        _KINDS,
        _conditions,
    ),
)
