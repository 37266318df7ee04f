"""One rule of an AuthorizationPolicy as an RBAC policy (pilot.md J4, J5).

A field that a chain cannot judge, or a value that Envoy has nothing for, never opens a door: a rule
that allows then allows nobody; any other rule does without that field, and so concerns more.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal

from istio.security.v1beta1.authorization_policy_pb2 import Condition, Operation, Rule, Source
from mast.pilot.core.security.authorization import permissions, principals
from mast.pilot.core.security.authorization.logic import Logic
from mast.pilot.core.security.authorization.trust_domains import expanded
from mast.pilot.core.security.authorization.values import Unusable

T = TypeVar("T")

Action: TypeAlias = "RBAC.Action.ValueType"


class Carrier(StrEnum):
    """What a chain carries, and so what rules may look at."""

    HTTP = "HTTP"
    TCP = "TCP"
    GRPC = "gRPC without a proxy"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a rule counts: what the chain carries, and whose identities it knows.

    `namespace` is that of the policy; `trust_domains` are the mesh's, its own first.
    """

    carrier: Carrier
    namespace: str
    trust_domains: Sequence[str]


@dataclass(kw_only=True)
class Translation:
    """What became of a rule: None if it matches nothing. `unusable` says what of it is left out."""

    policy: Policy | None = None
    unusable: list[str] = field(default_factory=list)


_ANYWHERE: Final = frozenset(Carrier)
_REQUESTS: Final = frozenset({Carrier.HTTP, Carrier.GRPC})
_ENVOY: Final = frozenset({Carrier.HTTP, Carrier.TCP})
_TOKENS: Final = frozenset({Carrier.HTTP})


@dataclass(frozen=True, kw_only=True)
class _Field(Generic[T]):
    """A field of a rule: one of the values must be there, none of the others may be.

    `render_other` is for the others, where they are looked for in another way.
    """

    name: str
    render: Callable[[str], T]
    values: Sequence[str]
    others: Sequence[str]
    carriers: frozenset[Carrier] = _ANYWHERE
    render_other: Callable[[str], T] | None = None


def translated(rule: Rule, action: Action, place: Place) -> Translation:
    """An RBAC policy that matches what the rule does, as far as the place can tell (J4, J5)."""
    result = Translation()
    strict = action == RBAC.ALLOW
    asked, asking = _of_conditions(rule.when, place)
    operations = [each.operation for each in rule.to] or [Operation()]
    sources = [each.source for each in getattr(rule, "from")] or [Source()]
    writer = _Writer(place.carrier, strict, result.unusable)
    try:
        result.policy = Policy(
            permissions=[
                writer.written([*_of_operation(each, place, strict), *asked], permissions.LOGIC)
                for each in operations
            ],
            principals=[
                writer.written([*_of_source(each, place), *asking], principals.LOGIC)
                for each in sources
            ],
        )
    except _LeftOut:
        result.policy = None
    return result


def never() -> Policy:
    """What a policy without rules is: it matches nothing (pilot.md J4)."""
    return Policy(permissions=[permissions.nothing()], principals=[principals.nobody()])


class _LeftOut(Exception):
    """A rule that allows has a field that cannot be judged."""


@dataclass(frozen=True)
class _Writer:
    """Writes the fields of a rule down as conditions, and what cannot be, into `unusable`."""

    carrier: Carrier
    strict: bool
    unusable: list[str]

    def written(self, fields: Sequence[_Field[T]], logic: Logic[T]) -> T:
        """All fields together."""
        return logic.all_of([each for one in fields for each in self._conditions(one, logic)])

    def _conditions(self, one: _Field[T], logic: Logic[T]) -> Sequence[T]:
        if not one.values and not one.others:
            return ()
        try:
            if self.carrier not in one.carriers:
                raise _Invisible(f"it means nothing to {self.carrier}")
            found = []
            if one.values:
                found.append(logic.any_of([one.render(each) for each in one.values]))
            if one.others:
                render = one.render_other or one.render
                none = logic.any_of([render(each) for each in one.others])
                found.append(logic.negated(none))
        except Unusable as error:
            if self.carrier is not Carrier.TCP or not isinstance(error, _Invisible):
                self.unusable.append(f"{one.name}: {error}")
            if self.strict:
                raise _LeftOut from error
            return ()
        return found


class _Invisible(Unusable):
    """Nobody made a mistake: what a field is about does not exist on a chain."""


_ADDRESSES: Final[Mapping[str, tuple[Callable[[str], Permission], frozenset[Carrier]]]] = {
    "destination.ip": (permissions.destination_ip, _ANYWHERE),
    "destination.port": (permissions.destination_port, _ANYWHERE),
    "connection.sni": (permissions.server_name, _ENVOY),
}
_CALLERS: Final[Mapping[str, tuple[Callable[[str], Principal], frozenset[Carrier]]]] = {
    "source.ip": (principals.source_ip, _ANYWHERE),
    "source.namespace": (principals.namespace, _ANYWHERE),
    "source.principal": (principals.identity, _ANYWHERE),
    "source.trustDomain": (principals.trust_domain, _ANYWHERE),
    "remote.ip": (principals.remote_ip, _ANYWHERE),
    "request.auth.principal": (principals.request_principal, _TOKENS),
    "request.auth.audiences": (principals.audience, _TOKENS),
    "request.auth.presenter": (principals.presenter, _TOKENS),
}
"""Conditions by their keys; `source.serviceAccount` depends on the policy besides."""

_SERVICE_ACCOUNT: Final = "source.serviceAccount"
_SOURCE_FIELDS: Final[Mapping[str, str]] = {
    "principals": "source.principal",
    "request_principals": "request.auth.principal",
    "namespaces": "source.namespace",
    "service_accounts": _SERVICE_ACCOUNT,
    "trust_domains": "source.trustDomain",
    "ip_blocks": "source.ip",
    "remote_ip_blocks": "remote.ip",
}
"""Conditions that fields of a source stand for."""

_HEADERS: Final = "request.headers"
_CLAIMS: Final = "request.auth.claims"
_EXPERIMENTAL: Final = "experimental."
_FILTERS: Final = f"{_EXPERIMENTAL}envoy.filters."
_KEY: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]+\])*)")
_UNSEEN_BY_GRPC: Final = ("grpc-", ":scheme")
"""Beginnings of the names of headers that gRPC refuses rules about (gRFC A41)."""


def _of_operation(asked: Operation, place: Place, strict: bool) -> Iterator[_Field[Permission]]:
    for name, render, carriers in (
        ("hosts", permissions.host, _REQUESTS),
        ("methods", permissions.method, _REQUESTS),
        ("ports", permissions.destination_port, _ANYWHERE),
    ):
        values, others = getattr(asked, name), getattr(asked, f"not_{name}")
        yield _Field(name=name, render=render, values=values, others=others, carriers=carriers)
    surely, maybe = permissions.path, permissions.path_of_any_characters
    if place.carrier is Carrier.GRPC:
        surely = maybe = permissions.path_by_regex
    yield _Field(
        name="paths",
        render=surely if strict else maybe,
        render_other=maybe if strict else surely,
        values=asked.paths,
        others=asked.not_paths,
        carriers=_REQUESTS,
    )


def _of_source(source: Source, place: Place) -> Iterator[_Field[Principal]]:
    for name, key in _SOURCE_FIELDS.items():
        shown = source.DESCRIPTOR.fields_by_name[name].json_name
        values, others = getattr(source, name), getattr(source, f"not_{name}")
        yield _caller(shown, key, values, others, place)


def _of_conditions(
    conditions: Sequence[Condition], place: Place
) -> tuple[Sequence[_Field[Permission]], Sequence[_Field[Principal]]]:
    """Conditions on what is asked for, and on who asks; of unknown ones the latter are told."""
    asked: list[_Field[Permission]] = []
    asking: list[_Field[Principal]] = []
    for each in conditions:
        name, _ = _parsed(each.key)
        if name in _ADDRESSES or name.startswith(_FILTERS):
            asked.append(_asked(each))
        else:
            asking.append(_caller(each.key, each.key, each.values, each.not_values, place))
    return asked, asking


def _asked(condition: Condition) -> _Field[Permission]:
    key = condition.key
    render, carriers = _ADDRESSES.get(key) or (partial(_of_filter, key), _ENVOY)
    return _Field(
        name=key,
        render=render,
        values=condition.values,
        others=condition.not_values,
        carriers=carriers,
    )


def _caller(
    shown: str, key: str, values: Sequence[str], others: Sequence[str], place: Place
) -> _Field[Principal]:
    if key == _SERVICE_ACCOUNT:
        account: Callable[[str], Principal] = partial(_service_account, place.namespace)
        return _Field(name=shown, render=account, values=values, others=others)
    if key == "source.principal":
        values = expanded(values, place.trust_domains)
        others = expanded(others, place.trust_domains)
    render, carriers = _CALLERS.get(key) or (partial(_of_request, key, place.carrier), _REQUESTS)
    if key.startswith(_CLAIMS):
        carriers = _TOKENS
    return _Field(name=shown, render=render, values=values, others=others, carriers=carriers)


def _service_account(namespace: str, account: str) -> Principal:
    """`[NAMESPACE/]ACCOUNT`; without a namespace that of the policy."""
    own, slash, name = account.rpartition("/")
    return principals.service_account(own if slash else namespace, name)


def _of_request(key: str, carrier: Carrier, value: str) -> Principal:
    """A header or a claim: `request.headers[X]`, `request.auth.claims[A][B]`."""
    name, keys = _parsed(key)
    if name == _HEADERS and len(keys) == 1:
        header = keys[0].lower()
        if not is_seen(header, carrier):
            raise _Invisible(f"it means nothing to {carrier}")
        return principals.header(header, value)
    if name == _CLAIMS and keys:
        return principals.claim(keys, value)
    raise Unusable(f"there is no condition {key!r}")


def is_seen(header: str, carrier: Carrier) -> bool:
    """Whether rules may be about a header, given in lower case, of what is carried."""
    return carrier is not Carrier.GRPC or not header.startswith(_UNSEEN_BY_GRPC)


def _of_filter(key: str, value: str) -> Permission:
    """Metadata of a filter: `experimental.envoy.filters.F[K]` is K of `envoy.filters.F`."""
    name, keys = _parsed(key)
    if not keys:
        raise Unusable(f"{key!r} names no key of the metadata; allowed: {_FILTERS}F[K]")
    return permissions.filter_metadata(name.removeprefix(_EXPERIMENTAL), keys, value)


def _parsed(key: str) -> tuple[str, Sequence[str]]:
    """`A[B][C]` as A and its keys B, C; a text of another form has no keys."""
    found = _KEY.fullmatch(key)
    if found is None:
        return key, ()
    return found[1], found[2][1:-1].split("][") if found[2] else ()
