"""Roles, bindings and calls for them, drawn so that values of both often meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.support.authorization_cases import (
    ADDRESSES,
    ALIAS,
    HTTP_PORTS,
    IDENTITIES,
    LABELS,
    NAMESPACE,
    ROOT,
    TCP_PORTS,
    Case,
    calls,
    chance_of,
)
from tests.support.authorization_reference import Document, Place
from tests.support.legacy_access_reference import Served

HOST = "web.shop.svc.cluster.local"
ACCOUNT = "web"
API = "rbac.istio.io/v1alpha1"

_SERVICES = (HOST, "web", "web.shop", "web.shop.svc", "*", "web*", "*.cluster.local", "other", "w")
_RULE_FIELDS: Mapping[str, Sequence[str]] = {
    "paths": ("/", "/a", "/a/*", "/admin*", "*/b", "*.json", "*", "/p(1)", "/{*}"),
    "methods": ("GET", "POST", "*", "P*", "*E", "get"),
    "hosts": ("shop.test", "SHOP.TEST", "shop.*", "*.shop.test", "*"),
}
_PORTS = (*HTTP_PORTS, *TCP_PORTS)
_CONSTRAINTS: Mapping[str, Sequence[str]] = {
    "destination.ip": (*ADDRESSES, "10.1.0.8/31", "10.2.0.0/16"),
    "destination.port": tuple(map(str, _PORTS)),
    "destination.labels[version]": ("v1", "v2", "v*", "*"),
    "destination.labels[none]": ("*", "v1"),
    "destination.namespace": ("shop", "sh*", "web"),
    "destination.name": ("web", "*b", "shop"),
    "destination.user": ("web", "w*", "cart"),
    "request.headers[x-role]": ("admin", "admin*", "*", "user"),
    "request.headers[X-Other]": ("user", "*"),
    "connection.sni": ("a.shop.test", "*.shop.test", "outbound_*", "*"),
    "experimental.envoy.filters.test.set[colour]": ("red", "r*", "blue", "*"),
}
_PRINCIPALS = (
    *IDENTITIES,
    f"{ALIAS}/ns/shop/sa/cart",
    "cluster.local/ns/shop/*",
    "*/sa/cart",
)
_SUBJECT_LISTS: Mapping[str, Sequence[str]] = {
    "names": (*_PRINCIPALS, "allUsers", "allAuthenticatedUsers"),
    "groups": ("staff", "ops", "*ps", "*", "none"),
    "namespaces": ("shop", "ops", "shop*", "*"),
    "ips": ("127.0.0.1", "127.0.0.0/24", "127.1.0.0/16"),
}
_PROPERTIES: Mapping[str, Sequence[str]] = {
    "source.ip": ("127.0.0.1", "127.0.0.0/8", "127.9.0.1/32"),
    "source.principal": (*_PRINCIPALS, "*"),
    "source.user": (*_PRINCIPALS, "*"),
    "source.namespace": ("shop", "ops", "*"),
    "request.headers[x-role]": ("admin", "admin*", "*"),
    "request.auth.principal": ("https://one.test/alice", "two@test/*", "*/alice", "*"),
    "request.auth.audiences": ("web", "api", "a*"),
    "request.auth.presenter": ("cli", "c*"),
    "request.auth.claims[groups]": ("staff", "*"),
    "request.auth.claims[scope]": ("read", "write", "read write"),
}


@dataclass(frozen=True)
class LegacyCase:
    """Objects for the service of one workload, and calls to it."""

    case: Case
    served: Served

    @property
    def objects(self) -> Sequence[Document]:
        """All of them."""
        return self.case.policies


def legacy_cases(seed: int, count: int, *, http: int, tcp: int) -> Sequence[LegacyCase]:
    """So many cases, always the same ones for a seed, with so many calls each."""
    return [_case(chance_of(f"{seed} {number}"), http, tcp) for number in range(count)]


def _case(chance: Random, http: int, tcp: int) -> LegacyCase:
    """A switch, roles, bindings, and calls of both kinds."""
    domains = chance.choice([("cluster.local",), ("cluster.local", ALIAS)])
    place = Place(namespace=NAMESPACE, labels=LABELS, root_namespace=ROOT, trust_domains=domains)
    objects = [_switch(chance)]
    objects += [_role(name, NAMESPACE, chance) for name in ("readers", "writers")]
    objects += [_role("readers", each, chance) for each in (ROOT, "elsewhere")]
    objects += [_binding(f"b{number}", chance) for number in range(chance.randint(1, 4))]
    served = Served(
        host=HOST, namespace=NAMESPACE, user=ACCOUNT, labels=LABELS, trust_domains=domains
    )
    return LegacyCase(Case(place, objects, calls(place, chance, http, tcp)), served)


def _object(kind: str, name: str, namespace: str, spec: Mapping[str, Any]) -> Document:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def _switch(chance: Random) -> Document:
    """Mostly on for the workload."""
    target = chance.choice(
        [
            {"services": [HOST]},
            {"namespaces": [NAMESPACE]},
            {"services": ["web.shop"], "namespaces": ["other"]},
            {"services": ["web.other"], "namespaces": ["other"]},
        ]
    )
    spec = chance.choice(
        [
            *[{"mode": "ON"}] * 4,
            {"mode": "ON_WITH_INCLUSION", "inclusion": target},
            {"mode": "ON_WITH_EXCLUSION", "exclusion": target},
            {"mode": "ON", "enforcementMode": "PERMISSIVE"},
        ]
    )
    if chance.random() < 1 / 2:
        return _object("ClusterRbacConfig", "default", "", spec)
    return _object("RbacConfig", "default", ROOT, spec)


def _role(name: str, namespace: str, chance: Random) -> Document:
    rules = [_rule(chance) for _ in range(chance.randint(1, 3))]
    return _object("ServiceRole", name, namespace, {"rules": rules})


def _rule(chance: Random) -> dict[str, Any]:
    named = ["*"] if chance.random() < 2 / 3 else _some(_SERVICES, chance)
    made: dict[str, Any] = {"services": named}
    for name in chance.sample(list(_RULE_FIELDS), chance.choice([0, 1, 1, 2])):
        key = chance.choice([name, name, f"not{name.capitalize()}"])
        made[key] = _some(_RULE_FIELDS[name], chance)
    if chance.random() < 1 / 5:
        made[chance.choice(["ports", "notPorts"])] = [chance.choice(_PORTS)]
    if chance.random() < 1 / 2:
        made["constraints"] = [
            {"key": key, "values": _some(_CONSTRAINTS[key], chance)}
            for key in chance.sample(list(_CONSTRAINTS), chance.randint(1, 2))
        ]
    return made


def _binding(name: str, chance: Random) -> Document:
    subjects = [_subject(chance) for _ in range(chance.randint(1, 2))]
    spec: dict[str, Any] = {"subjects": subjects}
    match chance.randint(0, 5):
        case 0:
            spec["actions"] = [_rule(chance) for _ in range(chance.randint(1, 2))]
        case 1:
            spec["role"] = chance.choice(["readers", "/readers", "/nobody"])
        case _:
            role = chance.choice(["readers", "writers", "writers", "nobody"])
            spec["roleRef"] = {"kind": "ServiceRole", "name": role}
    if chance.random() < 1 / 5:
        spec["mode"] = "PERMISSIVE"
    return _object("ServiceRoleBinding", name, NAMESPACE, spec)


def _subject(chance: Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    match chance.randint(0, 6):
        case 0:
            made["user"] = "*"
        case 1:
            made["user"] = chance.choice(_PRINCIPALS)
        case 2:
            made["group"] = chance.choice(_SUBJECT_LISTS["groups"])
    for name in chance.sample(list(_SUBJECT_LISTS), chance.randint(0, 2)):
        if not (name == "groups" and "group" in made):
            key = chance.choice([name, name, f"not{name.capitalize()}"])
            made[key] = _some(_SUBJECT_LISTS[name], chance)
    if chance.random() < 1 / 2:
        key = chance.choice(list(_PROPERTIES))
        made["properties"] = {key: chance.choice(_PROPERTIES[key])}
    return made or {"user": "*"}


def _some(values: Sequence[str], chance: Random) -> list[str]:
    return chance.sample(values, min(len(values), chance.randint(1, 2)))
