"""Policies about mutual TLS change in steps, so that no caller meets a server that does not follow.

Proxies take a change over at different moments. Where servers begin or stop to take mutual TLS,
they take both for a while; meanwhile callers change over; then servers do as they are told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config

COLLECTIONS: Final = frozenset(
    {
        collection_names.PEER_AUTHENTICATIONS,
        collection_names.POLICIES,
        collection_names.MESH_POLICIES,
    }
)
"""Kinds that say whether servers take mutual TLS (pilot.md J1, J8)."""

Policies = Mapping[str, Sequence[Config[Any]]]
"""Objects of a namespace by collection, oldest first."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where a namespace is between the policies of `before` and those of now.

    First callers go by the old ones, then (`callers_follow`) by the new ones.
    """

    before: Policies
    callers_follow: bool = False


Settling = Mapping[str, Step]
"""Namespaces whose policies have just changed, "" for the mesh; empty once all had time."""


def changed(settling: Settling, before: Mapping[str, Policies]) -> Settling:
    """Policies of some namespaces change from what they were before.

    As long as callers still go by something older, that is what they are kept at.
    """
    kept = {place: step for place, step in settling.items() if not step.callers_follow}
    new = {place: Step(policies) for place, policies in before.items()}
    return {**settling, **new, **kept}


def advanced(settling: Settling) -> Settling:
    """The next step of all: callers go by the new policies, then servers as well."""
    return {
        place: replace(step, callers_follow=True)
        for place, step in settling.items()
        if not step.callers_follow
    }
