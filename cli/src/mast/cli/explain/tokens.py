"""Whether the filter that checks tokens lets a request pass (Envoy v3 API, "JwtAuthentication").

Of a token only the claims are known: it counts as well signed and in time, and as sent where the
provider of its issuer looks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    JwtRequirement,
)

from mast.cli.explain.routing import lacking
from mast.cli.explain.traffic import Request
from mast.common.envoy.matchers import NotUnderstood

UNAUTHORIZED, FORBIDDEN = 401, 403
"""What a bad token is answered with, and one that is meant for somebody else."""


class Outcome(Enum):
    """What becomes of the demand for a token."""

    GOOD = "good"
    MISSING = "missing"
    BAD = "bad"


@dataclass(frozen=True)
class Checked:
    """The outcome, why it is so, and what filters behind may know of the token.

    ``status`` is the answer if it is not good.
    """

    outcome: Outcome
    reason: str
    left: Mapping[str, Any] = field(default_factory=dict)
    status: int = UNAUTHORIZED

    @property
    def passes(self) -> bool:
        """The request goes on."""
        return self.outcome is Outcome.GOOD


Claims = Mapping[str, Any]
Providers = Mapping[str, JwtProvider]


def checked(
    filter_: JwtAuthentication, request: Request, state: Mapping[str, str] | None = None
) -> Checked:
    """What the filter does with a request and the claims of its token, if it has one.

    ``state`` is what filters before it found out, by name; the empty text stands for nothing.
    """
    if filter_.bypass_cors_preflight and _preflight(request):
        return Checked(Outcome.GOOD, "preflight requests need no token")
    for rule in filter_.rules:
        if lacking(rule.match, request):
            continue
        demand = rule.requires
        if rule.WhichOneof("requirement_type") == "requirement_name":
            demand = filter_.requirement_map[rule.requirement_name]
        return _met(demand, filter_.providers, request.claims, list(filter_.providers))
    by_state = filter_.filter_state_rules
    found = (state or {}).get(by_state.name, "")
    if found in by_state.requires:
        demand = by_state.requires[found]
        return _met(demand, filter_.providers, request.claims, list(filter_.providers))
    return Checked(Outcome.GOOD, "no token is asked for here")


def _preflight(request: Request) -> bool:
    asked = ("origin", "access-control-request-method")
    return request.method == "OPTIONS" and all(request.header(each) for each in asked)


def _met(
    demand: JwtRequirement, providers: Providers, claims: Claims | None, among: Sequence[str]
) -> Checked:
    """Whether a demand is met; no token of providers ``among`` may be missing where one may be."""
    match demand.WhichOneof("requires_type"):
        case None:
            return Checked(Outcome.GOOD, "any request may pass")
        case "provider_name":
            return _provided(providers[demand.provider_name], claims)
        case "provider_and_audiences":
            wanted = demand.provider_and_audiences
            provider = JwtProvider()
            provider.CopyFrom(providers[wanted.provider_name])
            del provider.audiences[:]
            provider.audiences.extend(wanted.audiences)
            return _provided(provider, claims)
        case "requires_any":
            parts = list(demand.requires_any.requirements)
            named = [*_named(parts)] or among
            return _any([_met(each, providers, claims, named) for each in parts])
        case "requires_all":
            return _all(
                [_met(each, providers, claims, among) for each in demand.requires_all.requirements]
            )
        case "allow_missing":
            return _optional([_provided(providers[each], claims) for each in among])
        case "allow_missing_or_failed":
            found = [_provided(providers[each], claims) for each in among]
            good = next((each for each in found if each.passes), None)
            return good or Checked(Outcome.GOOD, "any request may pass")
        case other:
            raise NotUnderstood(f"a demand for tokens of kind {other}")


def _named(parts: Sequence[JwtRequirement]) -> Iterator[str]:
    for each in parts:
        match each.WhichOneof("requires_type"):
            case "provider_name":
                yield each.provider_name
            case "provider_and_audiences":
                yield each.provider_and_audiences.provider_name


def _any(found: Sequence[Checked]) -> Checked:
    """The first that is good, else the one that says most."""
    order = (Outcome.GOOD, Outcome.BAD, Outcome.MISSING)
    return min(found, key=lambda each: order.index(each.outcome))


def _all(found: Sequence[Checked]) -> Checked:
    wrong = next((each for each in found if not each.passes), None)
    if wrong is not None:
        return wrong
    left = {key: value for each in found for key, value in each.left.items()}
    return Checked(Outcome.GOOD, "; ".join(dict.fromkeys(each.reason for each in found)), left)


def _optional(found: Sequence[Checked]) -> Checked:
    """No token will do, a bad one will not."""
    present = [each for each in found if each.outcome is not Outcome.MISSING]
    return _any(present) if present else Checked(Outcome.GOOD, "there is no token")


def _provided(provider: JwtProvider, claims: Claims | None) -> Checked:
    if claims is None or not _looked_for(provider, claims):
        return Checked(Outcome.MISSING, f"there is no token of {provider.issuer or 'any issuer'}")
    issuer = claims.get("iss")
    if provider.issuer and issuer != provider.issuer:
        return Checked(Outcome.BAD, f"the issuer is {issuer}, not {provider.issuer}")
    given = claims.get("aud", [])
    audiences = {given} if isinstance(given, str) else set(given)
    if provider.audiences and audiences.isdisjoint(provider.audiences):
        wanted = " or ".join(provider.audiences)
        said = ", ".join(sorted(audiences)) or "nobody"
        reason = f"the audience is {said}, not {wanted}"
        return Checked(Outcome.BAD, reason, status=FORBIDDEN)
    left = {}
    if provider.payload_in_metadata:
        left[provider.payload_in_metadata] = dict(_normalised(provider, claims))
    return Checked(Outcome.GOOD, f"the token of {issuer} is good", left)


def _looked_for(provider: JwtProvider, claims: Claims) -> bool:
    """Whether a provider finds the token at all; the usual places are those of most issuers."""
    usual = not (provider.from_headers or provider.from_params or provider.from_cookies)
    return usual or claims.get("iss") == provider.issuer


def _normalised(provider: JwtProvider, claims: Claims) -> Iterator[tuple[str, Any]]:
    delimited = provider.normalize_payload_in_metadata.space_delimited_claims
    for name, value in claims.items():
        yield name, value.split() if name in delimited and isinstance(value, str) else value
