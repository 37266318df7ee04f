"""Subjects of bindings as RBAC principals (Istio Subject, pilot.md J7, J8)."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from envoy.config.rbac.v3.rbac_pb2 import Principal

from istio.rbac.v1alpha1.rbac_pb2 import Subject
from mast.pilot.core.security.authorization import principals
from mast.pilot.core.security.authorization.rules import Carrier, is_seen
from mast.pilot.core.security.authorization.trust_domains import expanded
from mast.pilot.core.security.authorization.values import ANY, Unusable

_Render = Callable[[str], Principal]

ALL_USERS: Final = "allUsers"
"""Anybody, whether it is known who that is; `*` says the same (Istio Subject, "names")."""
ALL_AUTHENTICATED_USERS: Final = "allAuthenticatedUsers"
"""Anybody of whom it is known who that is."""

_HEADERS: Final = "request.headers"
_PRINCIPAL: Final = "request.auth.principal"
_CLAIMS: Final = "request.auth.claims"
_GROUPS: Final = "request.auth.claims[groups]"
_KEYED: Final = re.compile(r"(request\.headers|request\.auth\.claims)\[([^\[\]]+)\]")
_OF_TOKENS: Final[Mapping[str, _Render]] = {
    _PRINCIPAL: principals.request_principal,
    "request.auth.audiences": principals.audience,
    "request.auth.presenter": principals.presenter,
}
_LISTS: Final[Mapping[str, str]] = {
    "names": "source.principal",
    "groups": _GROUPS,
    "namespaces": "source.namespace",
    "ips": "source.ip",
}
"""Properties that lists of a subject stand for."""


@dataclass(frozen=True, kw_only=True)
class Callers:
    """How callers are told apart where a rule counts.

    What `request.auth.principal` says is bound by the authentication Policy (J8): it is the token's
    issuer and subject, with `bound_to_peer` (`principalBinding: USE_PEER`) the caller's identity by
    mutual TLS, which is all that `source.principal` and `user` ever are. `trust_domains` are the
    mesh's.
    """

    carrier: Carrier
    trust_domains: Sequence[str]
    bound_to_peer: bool = False


def principal(subject: Subject, callers: Callers) -> Principal | None:
    """A subject: everything that is said of it is so; None if nobody can be it.

    One with a part that the carrier cannot judge, as tokens on TCP, is nobody; so is one of whom
    nothing is said.
    """
    try:
        conditions = list(_conditions(subject, callers))
    except Unusable:
        return None
    return principals.all_of(conditions) if conditions else None


def claims(subject: Subject) -> set[str]:
    """Names of the claims that a subject is known by."""
    keys = {*subject.properties}
    if subject.group or subject.groups or subject.not_groups:
        keys.add(_GROUPS)
    found = (_KEYED.fullmatch(each) for each in keys)
    return {each[2] for each in found if each is not None and each[1] == _CLAIMS}


def _conditions(subject: Subject, callers: Callers) -> Iterator[Principal]:
    if subject.user:
        yield _any("source.principal", [subject.user], callers)
    if subject.group:
        yield _any(_GROUPS, [subject.group], callers)
    for name, key in _LISTS.items():
        wanted, unwanted = getattr(subject, name), getattr(subject, f"not_{name}")
        if wanted:
            yield _any(key, wanted, callers)
        if unwanted:
            yield principals.negated(_any(key, unwanted, callers))
    for key in sorted(subject.properties):
        yield _any(key, [subject.properties[key]], callers)


def _any(key: str, values: Sequence[str], callers: Callers) -> Principal:
    render = _property(key, callers)
    return principals.any_of([render(each) for each in values])


def _property(key: str, callers: Callers) -> _Render:
    """What stands for a value of a property; raises `Unusable` if nothing does."""
    if key == "source.ip":
        return principals.source_ip
    if key == "source.principal":
        return partial(_principal, callers)
    if key == "source.namespace":
        return principals.namespace
    if key == "source.user" and callers.carrier is not Carrier.TCP:
        return partial(_peer, callers)
    if key == _PRINCIPAL and callers.bound_to_peer and callers.carrier is not Carrier.TCP:
        return partial(_peer, callers)
    if key in _OF_TOKENS and callers.carrier is Carrier.HTTP:
        return _OF_TOKENS[key]
    found = _KEYED.fullmatch(key)
    if found is not None and callers.carrier is not Carrier.TCP:
        if found[1] == _HEADERS and is_seen(found[2].lower(), callers.carrier):
            return partial(principals.header, found[2].lower())
        if found[1] == _CLAIMS and callers.carrier is Carrier.HTTP:
            return partial(principals.claim, [found[2]])
    raise Unusable(f"{key!r} is no property that means anything to {callers.carrier}")


def _principal(callers: Callers, value: str) -> Principal:
    if value in {ANY, ALL_USERS}:
        return principals.anything()
    return _peer(callers, ANY if value == ALL_AUTHENTICATED_USERS else value)


def _peer(callers: Callers, pattern: str) -> Principal:
    names = expanded([pattern], callers.trust_domains)
    return principals.any_of([principals.identity(each) for each in names])
