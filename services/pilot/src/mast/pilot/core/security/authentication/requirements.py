"""What jwt_authn demands of requests: providers, combined (pilot.md J2, J8)."""

from collections.abc import Sequence
from typing import Final

from envoy.config.route.v3.route_components_pb2 import RouteMatch
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtRequirement,
    JwtRequirementAndList,
    JwtRequirementOrList,
    RequirementRule,
)
from google.protobuf.empty_pb2 import Empty

ALLOW_MISSING: Final = JwtRequirement(allow_missing=Empty())
"""Requests without any token pass; tokens must be good."""

ALLOW_MISSING_OR_FAILED: Final = JwtRequirement(allow_missing_or_failed=Empty())
"""Every request passes; what a good token says is known."""


def of_provider(name: str) -> JwtRequirement:
    """A good token of a provider."""
    return JwtRequirement(provider_name=name)


def any_of(demands: Sequence[JwtRequirement]) -> JwtRequirement:
    """One of some demands; one alone stands for itself."""
    if len(demands) == 1:
        return demands[0]
    return JwtRequirement(requires_any=JwtRequirementOrList(requirements=demands))


def all_of(demands: Sequence[JwtRequirement]) -> JwtRequirement:
    """All of some demands; one alone stands for itself."""
    if len(demands) == 1:
        return demands[0]
    return JwtRequirement(requires_all=JwtRequirementAndList(requirements=demands))


def good_or_missing(names: Sequence[str]) -> JwtRequirement:
    """A good token of one of the providers, or none at all (pilot.md J2).

    With several providers a token is missing only if none of them finds one where it looks.
    """
    if len(names) == 1:
        return any_of([of_provider(names[0]), ALLOW_MISSING])
    missing = [any_of([of_provider(each), ALLOW_MISSING]) for each in names]
    return any_of([*map(of_provider, names), all_of(missing)])


def on_every_path(demand: JwtRequirement) -> Sequence[RequirementRule]:
    """The same demand whatever is asked for."""
    return [RequirementRule(match=RouteMatch(prefix="/"), requires=demand)]
