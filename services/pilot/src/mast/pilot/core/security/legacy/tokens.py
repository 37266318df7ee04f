"""Tokens that an authentication Policy demands: `origins` as filters (pilot.md J8)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    FilterStateRule,
    JwtRequirement,
    RequirementRule,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.authentication.v1alpha1.policy_pb2 import Jwt, Policy
from istio.rbac.v1alpha1.rbac_pb2 import ServiceRoleBinding
from istio.security.v1beta1.request_authentication_pb2 import JWTHeader, JWTRule
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authentication.requirements import (
    ALLOW_MISSING_OR_FAILED,
    any_of,
    of_provider,
    on_every_path,
)
from mast.pilot.core.security.authentication.token_checks import token_check
from mast.pilot.core.security.legacy.principals import claims
from mast.pilot.core.security.legacy.triggers import (
    demands_by_path,
    differ,
    triggers_filters,
)

_WHOLE: Final = frozenset({"iss", "sub", "aud", "azp"})
"""Claims that stay as they are: they name somebody."""


def token_filters(scope: Scope, proxy: Proxy, policy: Policy) -> Sequence[HttpFilter]:
    """The filters that check tokens as a policy says; none if it has no origins (pilot.md J8).

    A request passes with a good token of one of the origins that its path concerns, and if it
    concerns none; with `originIsOptional` always, but then nobody knows what a bad token says.
    """
    origins = [each.jwt for each in policy.origins]
    if not origins:
        return ()
    words = sorted(_lists_of_words(scope, proxy.namespace))
    rules = [_rule(each, words) for each in origins]
    demands = partial(_demands, origins, optional=policy.origin_is_optional)
    check = token_check(scope, proxy, rules, demands)
    return [*triggers_filters(origins), check] if differ(origins) else [check]


def _demands(
    origins: Sequence[Jwt], providers: Sequence[str], *, optional: bool
) -> Sequence[RequirementRule] | FilterStateRule:
    def demand(places: Sequence[int]) -> JwtRequirement:
        accepted = [of_provider(providers[each]) for each in places]
        return any_of([*accepted, ALLOW_MISSING_OR_FAILED] if optional else accepted)

    if differ(origins):
        return demands_by_path(origins, demand)
    return on_every_path(demand(range(len(origins))))


def _rule(origin: Jwt, words: Sequence[str]) -> JWTRule:
    """The origin in the terms of a RequestAuthentication; the application gets the token."""
    return JWTRule(
        issuer=origin.issuer,
        audiences=origin.audiences,
        jwks_uri=origin.jwks_uri,
        jwks=origin.jwks,
        from_headers=[JWTHeader(name=each) for each in origin.jwt_headers],
        from_params=origin.jwt_params,
        forward_original_token=True,
        space_delimited_claims=words,
    )


def _lists_of_words(scope: Scope, namespace: str) -> Iterator[str]:
    """Claims that bindings of a namespace look at: of a text each word counts (Istio 1.4)."""
    bindings: Sequence[Config[ServiceRoleBinding]] = scope.configs(
        collection_names.SERVICE_ROLE_BINDINGS, namespace
    )
    for binding in bindings:
        for subject in binding.spec.subjects:
            yield from claims(subject) - _WHOLE
