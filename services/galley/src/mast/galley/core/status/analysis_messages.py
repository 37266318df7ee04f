"""Findings of analysis in the status of the object they are about (A8).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mast.galley.core.analysis.codes import CODES
from mast.galley.core.analysis.snapshot import Message

Messages = Sequence[Mapping[str, Any]]


def validation_messages(messages: Iterable[Message]) -> Messages:
    """``validationMessages`` (AnalysisMessageBase): each code once, in the order given.

    They have no texts; `mastctl analyze` tells those.
    """
    told = dict.fromkeys(message.code for message in messages)
    return [
        {
            "type": {"name": CODES[code].name, "code": code},
            "level": CODES[code].level.name,
            "documentationUrl": CODES[code].documentation,
        }
        for code in told
    ]


def analysed(
    status: Mapping[str, Any], generation: int, wanted: Messages
) -> Mapping[str, Any] | None:
    """The merge patch that makes a status tell these messages, None if it does.

    Everything else in it is somebody else's. An object that nothing was ever said about gets no
    status; one that has none to be told any more loses ``validationMessages``.
    """
    change: dict[str, Any] = {}
    if (status.get("validationMessages") or []) != list(wanted):
        change["validationMessages"] = list(wanted) or None
    observed = status.get("observedGeneration")
    if generation and (change or observed is not None) and str(observed) != str(generation):
        change["observedGeneration"] = generation
    return change or None
