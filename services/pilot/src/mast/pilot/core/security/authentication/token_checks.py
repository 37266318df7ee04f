"""The filter that checks tokens: envoy.filters.http.jwt_authn (pilot.md E10, J2)."""

from collections.abc import Callable, Sequence

from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    FilterStateRule,
    JwtAuthentication,
    RequirementRule,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.security.v1beta1.request_authentication_pb2 import JWTRule
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed
from mast.pilot.core.scope.matches import JWT_FILTER
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authentication.keys import keys_of
from mast.pilot.core.security.authentication.providers import jwt_provider
from mast.pilot.core.security.authentication.requirements import good_or_missing, on_every_path

Demands = Callable[[Sequence[str]], Sequence[RequirementRule] | FilterStateRule]
"""What is demanded, given the names of providers in the order of their rules: the first rule whose
match fits a request counts, or what a filter before has found out about it."""


def _as_istio(providers: Sequence[str]) -> Sequence[RequirementRule]:
    return on_every_path(good_or_missing(providers))


def token_check(
    scope: Scope, proxy: Proxy, rules: Sequence[JWTRule], demands: Demands = _as_istio
) -> HttpFilter:
    """The filter for at least one rule; providers are named `origins-0…` by issuer (pilot.md J2).

    Unless `demands` says something else a request passes with a good token of any of the rules, or
    without a token. Preflight requests of browsers, which cannot carry one, always pass.
    """
    ranks = sorted(range(len(rules)), key=lambda index: rules[index].issuer)
    names = {index: f"origins-{rank}" for rank, index in enumerate(ranks)}
    config = JwtAuthentication(
        providers={
            names[index]: jwt_provider(rules[index], keys_of(scope, rules[index]), proxy)
            for index in ranks
        },
        bypass_cors_preflight=True,
    )
    demanded = demands([names[index] for index in range(len(rules))])
    if isinstance(demanded, FilterStateRule):
        config.filter_state_rules.CopyFrom(demanded)
    else:
        config.rules.extend(demanded)
    return HttpFilter(name=JWT_FILTER, typed_config=packed(config))
