"""Values of security kinds of Istio 1.0 to 1.4."""

from collections.abc import Mapping, Sequence

from tests.property.hostile import access_fields, addresses, texts
from tests.property.hostile.pools import Pool

_LONG = "x" * 20_000

PATTERNS = Pool(
    ("a", "*", "a*", "*a"),
    ("", "**", "*a*", "a*b", "é*", "\x00", "{*}", "(", _LONG, f"*{_LONG}", "%"),
)
PATHS = Pool(("/", "/a", "/a*", "*/a", "*"), ("/{*}", "/{**}/{*}", "{", "/a b", "/é", "", _LONG))
SERVICES = Pool(
    ("*", "one", addresses.ONE, "one*", "*.cluster.local"),
    ("", "é", "*a*", "one.shop", "one.shop.svc", "nope"),
)
CONSTRAINTS = Pool(
    (
        "destination.ip",
        "destination.port",
        "destination.labels[app]",
        "destination.name",
        "destination.namespace",
        "destination.user",
        "connection.sni",
        "request.headers[x-one]",
        "experimental.envoy.filters.http.lua[a]",
    ),
    (
        "",
        "nope",
        "destination.labels",
        "destination.labels[]",
        "destination.labels[a b]",
        "request.headers",
        "request.headers[:path]",
        "request.headers[é]",
        f"request.headers[{_LONG}]",
        "request.headers[a][b]",
        "experimental.envoy.filters.[a]",
        "experimental.envoy.filters.a[b][c]",
        "source.ip",
    ),
)
PROPERTIES = Pool(
    (
        "source.ip",
        "source.namespace",
        "source.principal",
        "source.user",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "request.auth.claims[groups]",
        "request.headers[x-one]",
    ),
    (
        "",
        "nope",
        "request.auth.claims",
        "request.auth.claims[a][b]",
        f"request.auth.claims[{_LONG}]",
        "request.headers[a b]",
        f"request.headers[{_LONG}]",
        "destination.ip",
    ),
)
VALUES = access_fields.VALUES + access_fields.IDENTITIES + access_fields.PRINCIPALS


def _both(name: str, pool: Pool) -> dict[str, Pool]:
    message, _, field = name.partition(".")
    return {name: pool, f"{message}.not_{field}": pool}


BY_PLACE: Mapping[str, Pool] = {
    "AccessRule.services": SERVICES,
    **_both("AccessRule.paths", PATHS),
    **_both("AccessRule.methods", access_fields.METHODS),
    **_both("AccessRule.hosts", access_fields.HOSTS),
    **_both("AccessRule.ports", addresses.PORTS),
    "Constraint.key": CONSTRAINTS,
    "Constraint.values": VALUES + PATTERNS,
    "Subject.user": access_fields.IDENTITIES + access_fields.PRINCIPALS,
    "Subject.group": PATTERNS,
    **_both("Subject.names", access_fields.IDENTITIES + Pool(("allUsers", "a/b"))),
    **_both("Subject.groups", PATTERNS),
    **_both("Subject.namespaces", access_fields.NAMESPACES),
    **_both("Subject.ips", addresses.CIDRS),
    "Target.services": SERVICES,
    "Target.namespaces": addresses.NAMESPACES,
    "RoleRef.kind": Pool(("ServiceRole",), ("", "Role")),
    "RoleRef.name": Pool(("readers", "a"), ("", "é")),
    "ServiceRoleBinding.role": Pool(("readers", "/readers"), ("", "/", "a/b")),
    "TargetSelector.name": Pool(("one", "two"), ("", "one.shop", "é")),
    "PortSelector.name": addresses.PORT_NAMES,
    "StringMatch.suffix": texts.PATHS + Pool((".css",), ("?a", "#")),
    "Jwt.issuer": Pool(("https://a.example.com", "b@example.com"), ("", "é", "\x00", "a b", _LONG)),
    "Jwt.audiences": texts.TEXTS,
    "Jwt.jwt_headers": texts.HEADERS,
    "Jwt.jwt_params": texts.PARAMETERS,
}
KEYS: Mapping[str, Pool] = {"properties": PROPERTIES}
MUST: Mapping[str, Sequence[str]] = {
    "ServiceRole": ("rules",),
    "AccessRule": ("services", "services methods paths", "services constraints", "services ports"),
    "Constraint": ("key values",),
    "ServiceRoleBinding": ("subjects roleRef", "subjects role", "subjects actions", "mode"),
    "RoleRef": ("kind name",),
    "Subject": ("user", "names", "properties", "groups", "namespaces ips"),
    "RbacConfig": ("mode", "mode inclusion", "mode exclusion"),
    "Policy": ("targets origins", "targets peers", "origins principal_binding", "peers"),
    "TargetSelector": ("name", "name ports"),
    "PortSelector": ("number", "name"),
    "PeerAuthenticationMethod": ("mtls",),
    "OriginAuthenticationMethod": ("jwt",),
    "Jwt": ("issuer jwks", "issuer jwks_uri", "issuer jwks trigger_rules"),
    "TriggerRule": ("included_paths", "excluded_paths", "included_paths excluded_paths"),
}
