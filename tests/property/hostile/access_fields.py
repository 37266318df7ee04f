"""Values of rules about who may call, and of external authorizers."""

from collections.abc import Mapping, Sequence

from tests.property.hostile import addresses, texts
from tests.property.hostile.pools import Pool

_LONG = "x" * 20_000

PATHS = texts.PATHS + Pool(
    ("/a*", "*/a", "/a/{*}", "/{*}/b/{**}"),
    (
        "/{**}/{*}",
        "/{**}/a/{**}",
        "{*}",
        "/{x}",
        "/{",
        "/a{*}",
        "/a b/{*}",
        "/é/{*}",
        "/a//{*}",
        "/{*}/",
        "/a=b/{*}",
        "/a|b/{*}",
        "/a*/{*}",
        "/\x00/{*}",
        "/" + "a/" * 200 + "{*}",
        "/{*}" * 64,
    ),
)
IDENTITIES = Pool(
    ("cluster.local/ns/shop/sa/a", "*", "*/sa/a", "cluster.local/ns/shop/*"),
    ("spiffe://a/ns/b/sa/c", "", "é*", "*é", "*\x00", "*(", f"*{_LONG}", _LONG, "**", "*" * 2_000),
)
NAMESPACES = Pool(
    ("shop", "web", "sh*", "*op"), ("", "é", "(", "a*b*c", "*" * 255, "[" * 255, _LONG)
)
ACCOUNTS = Pool(("a", "shop/a"), ("", "/", "a/b/c", "é", "(", "a*", "shop/" + "." * 255, _LONG))
TRUST_DOMAINS = Pool(
    ("cluster.local", "old*", "*"), ("", "a/b", "*a*", "*(", "*" + "(" * 254, _LONG)
)
PRINCIPALS = Pool(
    ("a/b", "https://a.example.com/b", "*", "a/*", "*/b"),
    ("", "/", "é", "a", "/" * 32, "/" * 33, f"*{_LONG}", "\x00/\x00", "**"),
)
PORTS = Pool(("80", "443", "8080"), ("", "a", "0", "65535", "65536", "٣", "-1", "1e3"))
HOSTS = Pool(("one.example.com", "*.example.com", "*"), ("", "é", "\x00", "[::1]:80", _LONG, "**"))
METHODS = texts.METHODS + Pool(("P*", "*T"), ("\x00", _LONG))
KEYS = Pool(
    (
        "request.headers[x-one]",
        "request.auth.claims[a][b]",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
        "source.trustDomain",
        "destination.ip",
        "destination.port",
        "connection.sni",
        "experimental.envoy.filters.http.lua[a]",
    ),
    (
        "",
        "é",
        "nope",
        "request.headers",
        "request.headers[",
        "request.headers[]",
        "request.headers[a b]",
        "request.headers[a][b]",
        "request.headers[:path]",
        "request.headers[é]",
        f"request.headers[{_LONG}]",
        "request.auth.claims",
        "request.auth.claims[]",
        f"request.auth.claims{'[a]' * 200}",
        "experimental.envoy.filters.",
        "experimental.envoy.filters.a",
        "experimental.envoy.filters.[a]",
        "experimental.envoy.filters.a[b][c]",
        "experimental.envoy.filters.a[b]c",
    ),
)
VALUES = Pool(
    ("a", "*", "a*", "*a", "10.0.0.0/8", "80", "[a]"), ("", "é", "\x00", "[]", "[*]", "**", _LONG)
)
HEADER_PATTERNS = texts.HEADERS + Pool(("x-*", "*-one", "*"), ("*x*", "x*y", "**"))


def _both(name: str, pool: Pool) -> dict[str, Pool]:
    message, _, field = name.partition(".")
    return {name: pool, f"{message}.not_{field}": pool}


_HTTP = "EnvoyExternalAuthorizationHttpProvider"
_GRPC = "EnvoyExternalAuthorizationGrpcProvider"

BY_PLACE: Mapping[str, Pool] = {
    **_both("Source.principals", IDENTITIES),
    **_both("Source.request_principals", PRINCIPALS),
    **_both("Source.namespaces", NAMESPACES),
    **_both("Source.service_accounts", ACCOUNTS),
    **_both("Source.trust_domains", TRUST_DOMAINS),
    **_both("Source.ip_blocks", addresses.CIDRS),
    **_both("Source.remote_ip_blocks", addresses.CIDRS),
    **_both("Operation.hosts", HOSTS),
    **_both("Operation.methods", METHODS),
    **_both("Operation.paths", PATHS),
    **_both("Operation.ports", PORTS),
    "Condition.key": KEYS,
    **_both("Condition.values", VALUES + IDENTITIES + NAMESPACES + PRINCIPALS),
    "ExtensionProvider.name": Pool(("authz", "authz-grpc", "otel"), ("", "nope", "é", "a[b]")),
    **dict.fromkeys(
        (f"{each}.service" for each in (_HTTP, _GRPC)),
        Pool((addresses.ONE, addresses.TWO), ("web/two", "nope.example.com")),
    ),
    **dict.fromkeys(
        (f"{each}.status_on_error" for each in (_HTTP, _GRPC)),
        Pool(("403", "503"), ("", "0", "99", "418", "599", "é", "x")),
    ),
    f"{_HTTP}.path_prefix": texts.PATHS,
    **dict.fromkeys(
        (
            f"{_HTTP}.{each}"
            for each in (
                "include_headers_in_check",
                "include_request_headers_in_check",
                "headers_to_upstream_on_allow",
                "headers_to_downstream_on_deny",
                "headers_to_downstream_on_allow",
            )
        ),
        HEADER_PATTERNS,
    ),
}
MUST: Mapping[str, Sequence[str]] = {
    "AuthorizationPolicy": (
        "rules",
        "action rules",
        "selector action rules",
        "action provider rules",
    ),
    "Rule": ("from", "to", "when", "from to when"),
    "From": ("source",),
    "To": ("operation",),
    "Condition": ("key values", "key not_values"),
    _HTTP: ("service port", "service port include_request_body_in_check"),
    _GRPC: ("service port", "service port include_request_body_in_check"),
}
