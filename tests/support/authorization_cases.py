"""Policy sets and calls for them, drawn so that values of both often meet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.authorization_reference import DRY_RUN, Call, Document, Place

T = TypeVar("T")

NAMESPACE, ROOT = "shop", "istio-system"
LABELS = {"app": "web", "version": "v1"}
HTTP_PORTS, TCP_PORTS = (8080, 8081), (9000, 9001)
ADDRESSES = ("10.1.0.7", "10.1.0.8")
ALIAS = "old-td"
SET_METADATA = {"test.set": {"colour": "red", "size": "large"}}
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


def drawn(seed: int, count: int, *, http: int, tcp: int) -> Sequence[Case]:
    """So many cases, always the same ones for a seed, with so many calls each."""
    return drawn_by(cases(http, tcp), seed, count)


def drawn_by(strategy: st.SearchStrategy[T], seed: int, count: int) -> Sequence[T]:
    """So many examples of a strategy, always the same ones for a seed."""
    found: list[T] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: T) -> None:
        found.append(example)

    collect()
    return found[:count]


@st.composite
def cases(draw: st.DrawFn, http: int, tcp: int) -> Case:
    """A policy set and calls of both kinds."""
    aliased = draw(st.booleans())
    place = Place(
        namespace=NAMESPACE,
        labels=LABELS,
        root_namespace=ROOT,
        trust_domains=("cluster.local", ALIAS) if aliased else ("cluster.local",),
    )
    count = draw(st.integers(1, 5))
    policies = [draw(_policy(f"p{number}")) for number in range(count)]
    known = draw(st.lists(callers(place), min_size=4, max_size=4))
    calls = [draw(requests(draw(st.sampled_from(known)))) for _ in range(http)]
    calls += [draw(streams(draw(st.sampled_from(known)))) for _ in range(tcp)]
    return Case(place, policies, calls)


@st.composite
def _policy(draw: st.DrawFn, name: str) -> Document:
    action = draw(st.sampled_from(["ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"]))
    namespace = draw(st.sampled_from([NAMESPACE, NAMESPACE, NAMESPACE, ROOT, ROOT, "elsewhere"]))
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if action != "AUDIT" and draw(st.integers(0, 5)) == 0:
        metadata["annotations"] = {DRY_RUN: "true"}
    least = 0 if action == "ALLOW" else 1
    spec: dict[str, Any] = {"action": action}
    if rules := draw(st.lists(_rule(), min_size=least, max_size=3)):
        spec["rules"] = rules
    match draw(st.integers(0, 7)):
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


@st.composite
def _rule(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if draw(st.booleans()):
        sources = draw(st.lists(_set(_SOURCE_FIELDS), min_size=1, max_size=2))
        made["from"] = [{"source": _consistent(each)} for each in sources]
    if draw(st.booleans()):
        operations = draw(st.lists(_set(_OPERATION_FIELDS), min_size=1, max_size=2))
        made["to"] = [{"operation": each} for each in operations]
    if draw(st.integers(0, 2)) == 0:
        made["when"] = draw(st.lists(_condition(), min_size=1, max_size=2))
    return made


@st.composite
def _set(draw: st.DrawFn, names: Sequence[str]) -> dict[str, Any]:
    made = {}
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        key = name if draw(st.integers(0, 2)) else f"not{name[0].upper()}{name[1:]}"
        made[key] = draw(_some(_TEXTS[name]))
    return made


def _consistent(source: dict[str, Any]) -> dict[str, Any]:
    """Service accounts stand alone (galley-and-kubernetes.md B3)."""
    accounts = {"serviceAccounts", "notServiceAccounts"} & source.keys()
    barred = {"principals", "notPrincipals", "namespaces", "notNamespaces"}
    return {key: value for key, value in source.items() if not (accounts and key in barred)}


@st.composite
def _condition(draw: st.DrawFn) -> dict[str, Any]:
    key = draw(st.sampled_from(list(_CONDITIONS)))
    made: dict[str, Any] = {"key": key}
    kind = draw(st.integers(0, 3))
    if kind != 1:
        made["values"] = draw(_some(_CONDITIONS[key]))
    if kind in {0, 1}:
        made["notValues"] = draw(_some(_CONDITIONS[key]))
    return made


def _some(values: Sequence[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


def callers(place: Place) -> st.SearchStrategy[Call]:
    """Who calls, and what is known of the connection."""
    domains = [*place.trust_domains]
    known = [each.replace("cluster.local", domain, 1) for domain in domains for each in IDENTITIES]
    return _combinations(["", *known], SOURCES, ADDRESSES, SERVER_NAMES, make=_caller)


def _caller(identity: str, source: str, address: str, server_name: str) -> Call:
    return Call(
        http=False,
        address=address,
        port=0,
        source_ip=source,
        remote_ip=source,
        principal=identity,
        sni=server_name if identity else "",
    )


def requests(caller: Call) -> st.SearchStrategy[Call]:
    """A request of a caller."""
    values = [None, None, *HEADER_VALUES]
    return _combinations(
        HTTP_PORTS,
        METHODS,
        PATHS,
        HOSTS,
        [*FORWARDED],
        [*product(values, repeat=len(HEADERS))],
        [None, *TOKENS],
        make=lambda *chosen: _request(caller, *chosen),
    )


def _request(
    caller: Call,
    port: int,
    method: str,
    path: str,
    host: str,
    forwarded: str,
    values: Sequence[str | None],
    claims: Mapping[str, Any] | None,
) -> Call:
    headers = [("x-forwarded-for", forwarded)] if forwarded else []
    headers += [
        (name, value) for name, value in zip(HEADERS, values, strict=True) if value is not None
    ]
    return replace(
        caller,
        http=True,
        port=port,
        remote_ip=FORWARDED[forwarded] or caller.source_ip,
        method=method,
        path=path,
        host=host,
        headers=tuple(headers),
        claims=claims,
        metadata=SET_METADATA,
    )


def streams(caller: Call) -> st.SearchStrategy[Call]:
    """A caller's connection that carries bytes."""
    return st.sampled_from([replace(caller, port=each) for each in TCP_PORTS])


def _combinations(*choices: Sequence[Any], make: Callable[..., Call]) -> st.SearchStrategy[Call]:
    """One of each; a single number, as drawing many takes its time."""

    def combined(number: int) -> Call:
        chosen = []
        for each in choices:
            number, place = divmod(number, len(each))
            chosen.append(each[place])
        return make(*chosen)

    return st.integers(0, prod(map(len, choices)) - 1).map(combined)
