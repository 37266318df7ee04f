"""Policy sets and calls for them, drawn so that values of both often meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.support.authorization_reference import DRY_RUN, Call, Document, Place

NAMESPACE, ROOT = "shop", "istio-system"
LABELS = {"app": "web", "version": "v1"}
HTTP_PORTS, TCP_PORTS = (8080, 8081), (9000, 9001)
ADDRESSES = ("10.1.0.7", "10.1.0.8")
ALIAS = "old-td"
SET_METADATA = {"envoy.filters.test.set": {"colour": "red", "size": "large"}}
"""What a filter before all others leaves for every request."""

IDENTITIES = (
    "cluster.local/ns/shop/sa/cart",
    "cluster.local/ns/shop/sa/web",
    "cluster.local/ns/shopping/sa/cart",
    "cluster.local/ns/ops/sa/root.admin",
)
SERVER_NAMES = ("", "a.shop.test", "outbound_.80_._.web.shop.test")
SOURCES = ("127.0.0.1", "127.0.0.77", "127.1.2.3", "127.9.0.1")
FORWARDED: Mapping[str, str] = {
    "": "",
    "203.0.113.5": "203.0.113.5",
    "203.0.113.5, 198.51.100.7": "198.51.100.7",
    "198.51.100.7,203.0.113.5": "203.0.113.5",
    "2001:db8::5": "2001:db8::5",
    "203.0.113.5, nonsense": "",
    "203.0.113.5, 127.0.0.77": "127.0.0.77",
}
"""Values of `x-forwarded-for`, and whom a sidecar takes for the caller; empty: the peer."""
METHODS = ("GET", "POST", "DELETE", "OPTIONS")
PATHS = (
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/b.json",
    "/a?x=/admin",
    "/admin",
    "/admin/x?y=1",
    "/Admin",
    "/files/x/y/z",
    "/files/x/y",
    "/a%20b",
    "/a;v=1",
    "/a=b/c",
    "/p(1)",
    "/a/[b]",
)
HOSTS = ("shop.test", "SHOP.test", "shop.test:8080", "api.shop.test", "other")
HEADERS = ("x-role", "X-Role", "x-other")
HEADER_VALUES = ("admin", "user", "admin-2", "")

ONE: Mapping[str, Any] = {
    "iss": "https://one.test",
    "sub": "alice",
    "aud": ["web", "api"],
    "azp": "cli",
    "groups": ["staff", "ops"],
    "nested": {"team": "red", "list": ["x", "y"]},
    "scope": "read write",
    "level": 5,
}
TWO: Mapping[str, Any] = {
    "iss": "two@test",
    "sub": "bob/2",
    "aud": "api",
    "groups": "staff",
    "nested": {"team": ["blue", "red"]},
    "admin": True,
}
NO_SUBJECT: Mapping[str, Any] = {"iss": "https://one.test", "aud": "web", "groups": []}
TOKENS = (ONE, TWO, NO_SUBJECT)
ISSUERS = ("https://one.test", "two@test")

_TEXTS: Mapping[str, Sequence[str]] = {
    "principals": (
        *IDENTITIES,
        f"{ALIAS}/ns/shop/sa/cart",
        "elsewhere/ns/shop/sa/cart",
        "*",
        "cluster.local/ns/shop/*",
        "*/sa/cart",
        "*/ns/shop/sa/web",
    ),
    "namespaces": ("shop", "ops", "shop*", "*ing", "*", "elsewhere"),
    "serviceAccounts": ("cart", "web", "ops/root.admin", "shopping/cart"),
    "trustDomains": ("cluster.local", ALIAS, "elsewhere", "*", "old*", "*local"),
    "ipBlocks": ("127.0.0.1", "127.0.0.0/24", "127.1.0.0/16", "127.9.0.1/32", "::1"),
    "remoteIpBlocks": ("203.0.113.0/24", "198.51.100.7", "127.0.0.0/8", "2001:db8::/32", "::/0"),
    "requestPrincipals": (
        "https://one.test/alice",
        "two@test/bob/2",
        "two@test/*",
        "https://one.test/*",
        "*/alice",
        "*/2",
        "*",
    ),
    "methods": (*METHODS, "*", "P*", "*E", "get"),
    "paths": (
        "/",
        "/a",
        "/a/*",
        "/admin*",
        "*/b",
        "*.json",
        "*",
        "/p(1)",
        "/a/{*}",
        "/a/{*}/c",
        "/a/{**}",
        "/{*}",
        "/{**}",
        "/{*}/b",
        "/files/{*}/y/{**}",
    ),
    "hosts": ("shop.test", "SHOP.TEST", "shop.*", "*.shop.test", "*", "shop.test:*", "*.TEST"),
    "ports": tuple(map(str, (*HTTP_PORTS, *TCP_PORTS, 1))),
}
_SOURCE_FIELDS = (
    "principals",
    "namespaces",
    "serviceAccounts",
    "trustDomains",
    "ipBlocks",
    "remoteIpBlocks",
    "requestPrincipals",
)
_OPERATION_FIELDS = ("methods", "paths", "hosts", "ports")
_CONDITIONS: Mapping[str, Sequence[str]] = {
    "source.ip": _TEXTS["ipBlocks"],
    "remote.ip": _TEXTS["remoteIpBlocks"],
    "source.principal": _TEXTS["principals"],
    "source.namespace": _TEXTS["namespaces"],
    "source.serviceAccount": _TEXTS["serviceAccounts"],
    "source.trustDomain": _TEXTS["trustDomains"],
    "request.auth.principal": _TEXTS["requestPrincipals"],
    "request.auth.audiences": ("web", "api", "a*", "*"),
    "request.auth.presenter": ("cli", "*", "c*", "web"),
    "request.auth.claims[groups]": ("staff", "ops", "*ps", "*", "none"),
    "request.auth.claims[nested][team]": ("red", "blue", "r*", "*"),
    "request.auth.claims[nested][list]": ("x", "z"),
    "request.auth.claims[scope]": ("read", "write", "read write"),
    "request.auth.claims[level]": ("5",),
    "request.headers[x-role]": ("admin", "user", "admin*", "*", "admin,user", "*user"),
    "request.headers[X-Other]": ("user", "*", "admin"),
    "destination.ip": ("10.1.0.7", "10.1.0.8/31", "10.1.0.0/29", "10.2.0.0/16"),
    "destination.port": _TEXTS["ports"],
    "connection.sni": (*SERVER_NAMES[1:], "*.shop.test", "outbound_*", "*"),
    "experimental.envoy.filters.test.set[colour]": ("red", "r*", "blue", "*"),
    "experimental.envoy.filters.test.set[absent]": ("red", "*"),
}


@dataclass(frozen=True)
class Case:
    """Policies for one workload, and calls to it."""

    place: Place
    policies: Sequence[Document]
    calls: Sequence[Call]


def cases(seed: int, count: int, *, http: int, tcp: int) -> Sequence[Case]:
    """So many cases, always the same ones for a seed, with so many calls each."""
    return [_case(chance_of(f"{seed} {number}"), http, tcp) for number in range(count)]


def chance_of(seed: str) -> Random:
    """Chance that is the same for everybody with this seed."""
    return Random(seed)  # noqa: S311


def _case(chance: Random, http: int, tcp: int) -> Case:
    place = Place(
        namespace=NAMESPACE,
        labels=LABELS,
        root_namespace=ROOT,
        trust_domains=chance.choice([("cluster.local",), ("cluster.local", ALIAS)]),
    )
    policies = [_policy(f"p{number}", chance) for number in range(chance.randint(1, 5))]
    return Case(place, policies, calls(place, chance, http, tcp))


def _policy(name: str, chance: Random) -> Document:
    action = chance.choice(["ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"])
    namespace = chance.choice([NAMESPACE, NAMESPACE, NAMESPACE, ROOT, ROOT, "elsewhere"])
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if action != "AUDIT" and chance.random() < 1 / 6:
        metadata["annotations"] = {DRY_RUN: "true"}
    spec: dict[str, Any] = {"action": action}
    least = 0 if action == "ALLOW" and chance.random() < 1 / 6 else 1
    if rules := [_rule(chance) for _ in range(chance.randint(least, 3))]:
        spec["rules"] = rules
    match chance.randint(0, 7):
        case 0:
            spec["selector"] = {"matchLabels": {"app": "web"}}
        case 1:
            spec["selector"] = {"matchLabels": {"app": "web", "version": "v2"}}
        case 2 if namespace == NAMESPACE:
            target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"}
            spec["targetRefs"] = [target]
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata,
        "spec": spec,
    }


def _rule(chance: Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if chance.random() < 1 / 2:
        sources = [_fields(_SOURCE_FIELDS, chance) for _ in range(chance.randint(1, 2))]
        made["from"] = [{"source": _consistent(each)} for each in sources]
    if chance.random() < 1 / 2:
        operations = [_fields(_OPERATION_FIELDS, chance) for _ in range(chance.randint(1, 2))]
        made["to"] = [{"operation": each} for each in operations]
    if chance.random() < 1 / 3:
        made["when"] = [_condition(chance) for _ in range(chance.randint(1, 2))]
    return made


def _fields(names: Sequence[str], chance: Random) -> dict[str, Any]:
    made = {}
    for name in chance.sample(names, chance.randint(1, 2)):
        key = name if chance.random() < 2 / 3 else f"not{name[0].upper()}{name[1:]}"
        made[key] = _some(_TEXTS[name], chance)
    return made


def _consistent(source: dict[str, Any]) -> dict[str, Any]:
    """Service accounts stand alone (galley-and-kubernetes.md B3)."""
    accounts = {"serviceAccounts", "notServiceAccounts"} & source.keys()
    barred = {"principals", "notPrincipals", "namespaces", "notNamespaces"}
    return {key: value for key, value in source.items() if not (accounts and key in barred)}


def _condition(chance: Random) -> dict[str, Any]:
    key = chance.choice(list(_CONDITIONS))
    made: dict[str, Any] = {"key": key}
    kind = chance.randint(0, 3)
    if kind != 1:
        made["values"] = _some(_CONDITIONS[key], chance)
    if kind in {0, 1}:
        made["notValues"] = _some(_CONDITIONS[key], chance)
    return made


def _some(values: Sequence[str], chance: Random) -> list[str]:
    return chance.sample(values, min(len(values), chance.randint(1, 2)))


def calls(place: Place, chance: Random, http: int, tcp: int) -> Sequence[Call]:
    """So many requests and so many connections of four callers."""
    known = [_caller(place, chance) for _ in range(4)]
    return [
        *(_request(chance.choice(known), chance) for _ in range(http)),
        *(replace(chance.choice(known), port=chance.choice(TCP_PORTS)) for _ in range(tcp)),
    ]


def _caller(place: Place, chance: Random) -> Call:
    """Who calls, and what is known of the connection."""
    identity = chance.choice(["", *IDENTITIES])
    source = chance.choice(SOURCES)
    return Call(
        http=False,
        address=chance.choice(ADDRESSES),
        port=0,
        source_ip=source,
        remote_ip=source,
        principal=identity.replace("cluster.local", chance.choice(place.trust_domains), 1),
        sni=chance.choice(SERVER_NAMES) if identity else "",
    )


def _request(caller: Call, chance: Random) -> Call:
    forwarded = chance.choice(list(FORWARDED))
    headers = [("x-forwarded-for", forwarded)] if forwarded else []
    headers += [(name, chance.choice(HEADER_VALUES)) for name in HEADERS if chance.random() < 1 / 3]
    return replace(
        caller,
        http=True,
        port=chance.choice(HTTP_PORTS),
        remote_ip=FORWARDED[forwarded] or caller.source_ip,
        method=chance.choice(METHODS),
        path=chance.choice(PATHS),
        host=chance.choice(HOSTS),
        headers=tuple(headers),
        claims=chance.choice([None, *TOKENS]),
        metadata=SET_METADATA,
    )
