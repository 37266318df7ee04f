"""What AuthorizationPolicies mean, said once more: the language itself, without any Envoy.

Written from pilot.md J2, J4 and J5 alone, so that it can judge what Pilot makes of policies.
Policies are documents as users write them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import re2  # type: ignore[import-untyped]

Document = Mapping[str, Any]

DRY_RUN = "istio.io/dry-run"
SPACE_DELIMITED = ("permission", "scope")
"""Claims whose text is a list of words (J2)."""

# Templates of Envoy do without brackets; where that would open something, these count (0019).
_SEGMENT, _SEGMENTS = r"[^/\[\]]+", r"[^\[\]]*"
_ANY_SEGMENT, _ANY_SEGMENTS = r"[^/]+", ".*"


@dataclass(frozen=True, kw_only=True)
class Place:
    """The workload that is called, and the mesh it is in."""

    namespace: str
    labels: Mapping[str, str]
    root_namespace: str = "istio-system"
    trust_domains: Sequence[str] = ("cluster.local",)
    """The mesh's own and its aliases."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is known of a request, or of a connection if ``http`` is false.

    ``principal`` is the caller's SPIFFE ID without its scheme, empty without mutual TLS;
    ``claims`` those of a valid token; ``metadata`` what other filters left, by filter.
    """

    http: bool
    address: str
    port: int
    source_ip: str
    remote_ip: str
    principal: str = ""
    sni: str = ""
    method: str = "GET"
    path: str = "/"
    host: str = ""
    headers: Sequence[tuple[str, str]] = ()
    claims: Mapping[str, Any] | None = None
    metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What policies say of a call.

    ``rules`` are all that could have decided, by the names Envoy knows them by: those that deny, or
    else those that allow. ``dry`` has what policies that are only tried would say, by action.
    """

    allowed: bool
    rules: frozenset[str] = frozenset()
    audited: bool = False
    dry: Mapping[str, bool] = field(default_factory=dict)


def verdict(policies: Iterable[Document], place: Place, call: Call) -> Verdict:
    """The verdict on a call: AUDIT never refuses, DENY before ALLOW, nothing to allow is enough."""
    applying = [each for each in policies if applies(each, place)]
    enforced = [each for each in applying if not _dry(each)]
    tried = [each for each in applying if _dry(each)]
    denying = _matching(enforced, "DENY", place, call)
    allowing = _matching(enforced, "ALLOW", place, call)
    asks = any(_action(each) == "ALLOW" for each in enforced)
    dry = {}
    if any(_action(each) == "DENY" for each in tried):
        dry["deny"] = not _matching(tried, "DENY", place, call)
    if any(_action(each) == "ALLOW" for each in tried):
        dry["allow"] = bool(_matching(tried, "ALLOW", place, call))
    return Verdict(
        allowed=not denying and (bool(allowing) or not asks),
        rules=denying or allowing,
        audited=bool(_matching(enforced, "AUDIT", place, call)),
        dry=dry,
    )


def applies(policy: Document, place: Place) -> bool:
    """Whether a policy is for a workload: its namespace's or the root's, as its selector says."""
    spec = policy["spec"]
    if policy["metadata"]["namespace"] not in {place.namespace, place.root_namespace}:
        return False
    if spec.get("targetRefs") or spec.get("targetRef"):
        return False  # They are gateways and waypoints, not sidecars.
    selector = spec.get("selector", {}).get("matchLabels", {})
    return all(place.labels.get(key) == value for key, value in selector.items())


def _dry(policy: Document) -> bool:
    return policy["metadata"].get("annotations", {}).get(DRY_RUN) == "true"


def _action(policy: Document) -> str:
    return str(policy["spec"].get("action", "ALLOW"))


def _matching(
    policies: Iterable[Document], action: str, place: Place, call: Call
) -> frozenset[str]:
    return frozenset(
        f"ns[{meta['namespace']}]-policy[{meta['name']}]-rule[{number}]"
        for policy in policies
        if _action(policy) == action
        for meta in [policy["metadata"]]
        for number, rule in enumerate(policy["spec"].get("rules", ()))
        if _rule(rule, action, meta["namespace"], place, call)
    )


@dataclass(frozen=True)
class _Field:
    """What a field of a rule compares its values with, and whether that is there in HTTP only.

    ``unwanted`` is what values that may not fit are compared with, if it is something else.
    """

    fits: Callable[[str], bool]
    http: bool = False
    unwanted: Callable[[str], bool] | None = None


@dataclass(frozen=True)
class _Asked:
    """A field with values; ``wanted`` is false where none of them may fit."""

    compared: _Field
    values: Sequence[str]
    wanted: bool = True

    @property
    def met(self) -> bool:
        if self.wanted:
            return any(map(self.compared.fits, self.values))
        return not any(map(self.compared.unwanted or self.compared.fits, self.values))


def _rule(rule: Document, action: str, namespace: str, place: Place, call: Call) -> bool:
    """Whether a rule takes a call: one of its sources, one of its operations, all conditions."""
    choices: list[list[list[_Asked]]] = []
    if "from" in rule:
        known = _sources(namespace, place, call)
        choices.append([list(_asked(each["source"], known)) for each in rule["from"]])
    if "to" in rule:
        known = _operations(call, action)
        choices.append([list(_asked(each["operation"], known)) for each in rule["to"]])
    choices += [[list(_condition(each, namespace, place, call))] for each in rule.get("when", ())]
    if not call.http:
        used = [each for choice in choices for fields in choice for each in fields]
        if action == "ALLOW" and any(each.compared.http for each in used):
            return False
        # Other actions keep what is left of the rule, which may be nothing.
        choices = [
            [[each for each in fields if not each.compared.http] for fields in choice]
            for choice in choices
        ]
    return all(any(all(each.met for each in fields) for fields in choice) for choice in choices)


def _asked(given: Document, known: Mapping[str, _Field]) -> Iterator[_Asked]:
    """The fields of a source or an operation; ``notX`` asks that no value of X fits."""
    for name, values in given.items():
        if name in known:
            yield _Asked(known[name], values)
        else:
            yield _Asked(known[name[3].lower() + name[4:]], values, wanted=False)


def _sources(namespace: str, place: Place, call: Call) -> Mapping[str, _Field]:
    return {
        "principals": _Field(lambda value: _principal(value, place, call)),
        "namespaces": _Field(lambda value: text_fits(value, _part(call, 2))),
        "serviceAccounts": _Field(lambda value: _service_account(value, namespace, call)),
        "trustDomains": _Field(lambda value: text_fits(value, _part(call, 0))),
        "ipBlocks": _Field(lambda value: _in_block(value, call.source_ip)),
        "remoteIpBlocks": _Field(lambda value: _in_block(value, call.remote_ip)),
        "requestPrincipals": _Field(lambda value: text_fits(value, _subject(call)), http=True),
    }


def _operations(call: Call, action: str = "ALLOW") -> Mapping[str, _Field]:
    doubtful = action != "ALLOW"
    return {
        "methods": _Field(lambda value: text_fits(value, call.method), http=True),
        "paths": _Field(
            lambda value: path_fits(value, call.path, doubtful=doubtful),
            http=True,
            unwanted=lambda value: path_fits(value, call.path, doubtful=not doubtful),
        ),
        "hosts": _Field(lambda value: text_fits(value.lower(), call.host.lower()), http=True),
        "ports": _Field(lambda value: int(value) == call.port),
    }


def _condition(condition: Document, namespace: str, place: Place, call: Call) -> Iterator[_Asked]:
    found = _key(condition["key"], namespace, place, call)
    if condition.get("values"):
        yield _Asked(found, condition["values"])
    if condition.get("notValues"):
        yield _Asked(found, condition["notValues"], wanted=False)


def _key(key: str, namespace: str, place: Place, call: Call) -> _Field:
    sources = _sources(namespace, place, call)
    named = {
        "source.ip": sources["ipBlocks"],
        "remote.ip": sources["remoteIpBlocks"],
        "source.principal": sources["principals"],
        "source.namespace": sources["namespaces"],
        "source.serviceAccount": sources["serviceAccounts"],
        "source.trustDomain": sources["trustDomains"],
        "request.auth.principal": sources["requestPrincipals"],
        "request.auth.audiences": _claim_field(call, ["aud"]),
        "request.auth.presenter": _claim_field(call, ["azp"]),
        "destination.ip": _Field(lambda value: _in_block(value, call.address)),
        "destination.port": _operations(call)["ports"],
        "connection.sni": _Field(lambda value: text_fits(value, call.sni or None)),
    }
    if key in named:
        return named[key]
    start, *path = key.replace("]", "").split("[")
    if start == "request.headers":
        lines = [value for name, value in call.headers if name.lower() == path[0].lower()]
        return _Field(lambda value: any(text_fits(value, each) for each in lines), http=True)
    if start == "request.auth.claims":
        return _claim_field(call, path)
    filter_name = start.removeprefix("experimental.")
    left = call.metadata.get(filter_name, {})
    return _Field(lambda value: text_fits(value, left.get(path[0])))


def text_fits(pattern: str, text: str | None) -> bool:
    """``*`` for anything that is there, ``a*``, ``*a``, or the text itself."""
    if text is None:
        return False
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern


def path_fits(pattern: str, path: str, *, doubtful: bool) -> bool:
    """As a text, or as a template: ``{*}`` is one segment, ``{**}`` any number of them.

    The query is no part of a path. ``doubtful`` says that characters count, too, that templates do
    without.
    """
    bare = path.partition("#")[0].partition("?")[0]
    if "{*" not in pattern:
        return text_fits(pattern, bare)
    parts = [re2.escape(each) for each in pattern.replace("{**}", "\0").split("{*}")]
    one, several = (_ANY_SEGMENT, _ANY_SEGMENTS) if doubtful else (_SEGMENT, _SEGMENTS)
    regex = one.join(parts).replace(re2.escape("\0"), several)
    return re2.fullmatch(regex, bare) is not None


def _principal(pattern: str, place: Place, call: Call) -> bool:
    """Whole identities of one trust domain of the mesh are those of all of them."""
    domain, *rest = pattern.split("/")
    same = [domain]
    if len(rest) == 4 and domain in place.trust_domains:
        same = [*place.trust_domains]
    return any(text_fits("/".join((each, *rest)), call.principal or None) for each in same)


def _part(call: Call, number: int) -> str | None:
    """A part of ``TD/ns/NS/sa/SA``."""
    return call.principal.split("/")[number] if call.principal else None


def _service_account(value: str, namespace: str, call: Call) -> bool:
    home, slash, account = value.rpartition("/")
    wanted = (home if slash else namespace, account)
    return bool(call.principal) and (_part(call, 2), _part(call, 4)) == wanted


def _in_block(block: str, address: str) -> bool:
    return ip_address(address) in ip_network(block, strict=False)


def _subject(call: Call) -> str | None:
    claims = call.claims or {}
    issuer, subject = claims.get("iss"), claims.get("sub")
    return f"{issuer}/{subject}" if issuer and subject else None


def _claim_field(call: Call, path: Sequence[str]) -> _Field:
    found = _texts(call.claims, path)
    return _Field(lambda value: any(text_fits(value, each) for each in found), http=True)


def _texts(claims: Mapping[str, Any] | None, path: Sequence[str]) -> Sequence[str]:
    """The texts of a claim: one, or those of a list."""
    value: Any = claims
    for each in path:
        value = value.get(each) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return value.split() if len(path) == 1 and path[0] in SPACE_DELIMITED else [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
