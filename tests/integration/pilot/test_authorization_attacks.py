"""Attempts to get past rules of access, byte by byte, against real Envoys (pilot.md J4, E9).

Each table says what comes of an attempt: the status of a refusal, or the request as it reached the
application. What reaches it under another name than the rule's is another thing to it as well.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support import raw_http
from tests.support.authorization_cases import LABELS, NAMESPACE, Case
from tests.support.authorization_envoy import Callers, gateway, inbound, running
from tests.support.authorization_reference import Call, Place
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.outbound_envoy import outbound_envoy
from tests.support.outbound_listeners import service
from tests.support.raw_http import Application, Seen, request, statuses

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODES = {"NONE": 0, "BASE": 1, "DEFAULT": 1, "MERGE_SLASHES": 2, "DECODE_AND_MERGE_SLASHES": 3}
"""Normalisations, and where the outcome under each stands in the table of paths."""

MESH = """
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}}, spec: {{{settings}}}}}
"""
TRUSTING = "defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}"

CART, WEB = "cluster.local/ns/shop/sa/cart", "cluster.local/ns/shop/sa/web"
STRANGER = Call(
    http=True, address="10.1.0.7", port=8080, source_ip="127.0.0.77", remote_ip="127.0.0.77"
)
NEIGHBOUR = replace(STRANGER, source_ip="127.0.0.1")
REFUSED, BAD, UNKNOWN_CODING = 403, 400, 501
NUMBER = "x-number"

Headers = Sequence[tuple[str, str]]


def policy(action: str, rule: Mapping[str, Any], name: str = "only") -> Case:
    """One policy with one rule for a workload, and for a gateway beside it."""
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"action": action, "rules": [rule]},
    }
    return Case(Place(namespace=NAMESPACE, labels=LABELS), [document], ())


def asked(**operation: Sequence[str]) -> dict[str, Any]:
    return {"to": [{"operation": operation}]}


def asking(**source: Sequence[str]) -> dict[str, Any]:
    return {"from": [{"source": source}]}


def normalizing(mode: str) -> str:
    return MESH.format(settings=f"pathNormalization: {{normalization: {mode}}}")


NOT_ADMIN = policy("DENY", asked(paths=["/admin", "/admin/*"]))
PUBLIC = policy("ALLOW", asked(paths=["/public", "/public/*"]))
OTHER_HOSTS = policy("DENY", asked(hosts=["admin.test", "admin.test:*"]), "hosts")
ADMINS = policy("ALLOW", {"when": [{"key": "request.headers[x-role]", "values": ["admin"]}]})
NO_ADMINS = policy("DENY", {"when": [{"key": "request.headers[x-role]", "values": ["admin"]}]})
CARTS = policy("ALLOW", asking(principals=[CART]))
NOT_FROM_77 = policy("DENY", asking(ipBlocks=["127.0.0.77"]))
NOT_REMOTE = policy("DENY", asking(notRemoteIpBlocks=["127.0.0.0/8"]))
PARTNERS = policy("ALLOW", asking(remoteIpBlocks=["198.51.100.0/24"]))


@dataclass(frozen=True)
class Attacked:
    """Running proxies by name; those of gateways begin with `gate`."""

    callers: Callers
    application: Application

    async def tried(self, name: str, sent: bytes, caller: Call = STRANGER) -> int | list[Seen]:
        """What reached the application of some bytes, else the status of the first refusal."""
        before = len(self.application.seen)
        captured = not name.startswith("gate")
        async with self.callers.connected(name, caller, captured=captured) as connection:
            answers = await statuses(connection, sent)
        return self.application.seen[before:] or answers[0]

    async def tried_http2(self, name: str, number: int, headers: Headers) -> None:
        """Send a request of HTTP/2 that can be told by its number."""
        captured = not name.startswith("gate")
        async with self.callers.connected(name, STRANGER, captured=captured) as connection:
            await raw_http.http2_ends(connection, [*headers, (NUMBER, f"{name}-{number}")])

    def numbered(self, name: str, number: int) -> list[Seen]:
        """What reached the application of a request with a number."""
        wanted = [f"{name}-{number}"]
        return [each for each in self.application.seen if each.values(NUMBER) == wanted]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Attacked]:
    plain = {
        "hosts": OTHER_HOSTS,
        "admins": ADMINS,
        "no-admins": NO_ADMINS,
        "carts": CARTS,
        "not-from-77": NOT_FROM_77,
        "paths": NOT_ADMIN,
        "both": Case(NOT_ADMIN.place, [*NOT_ADMIN.policies, *OTHER_HOSTS.policies], ()),
    }
    sidecars = {name: inbound(case) for name, case in plain.items()}
    gates = {f"gate-{name}": gateway(case) for name, case in plain.items()}
    gates["gate-not-remote"] = gateway(NOT_REMOTE)
    gates["gate-partners"] = gateway(PARTNERS, MESH.format(settings=TRUSTING))
    for mode in MODES:
        sidecars[f"deny-{mode}"] = inbound(NOT_ADMIN, normalizing(mode))
        sidecars[f"allow-{mode}"] = inbound(PUBLIC, normalizing(mode))
        gates[f"gate-deny-{mode}"] = gateway(NOT_ADMIN, normalizing(mode))
        gates[f"gate-allow-{mode}"] = gateway(PUBLIC, normalizing(mode))
    for name, made in (*sidecars.items(), *gates.items()):
        made.name = name
    directory: Path = tmp_path_factory.mktemp("attacked")
    async with (
        raw_http.application() as application,
        running(directory, sidecars, [CART, WEB], gates, application.port) as (_, callers),
    ):
        yield Attacked(callers, application)


PATHS: Sequence[tuple[str, str, tuple[int | str, ...]]] = [
    ("the path itself", "/admin", (403, 403, 403, 403)),
    ("a query", "/admin?x=1", (403, 403, 403, 403)),
    ("a fragment, which Envoy cuts off", "/admin#x", (403, 403, 403, 403)),
    ("below it", "/admin/x", (403, 403, 403, 403)),
    ("an absolute URL", "http://other/admin", (403, 403, 403, 403)),
    ("dot segments", "/x/../admin", ("/x/../admin", 403, 403, 403)),
    ("one dot", "/./admin", ("/./admin", 403, 403, 403)),
    ("escaped dots", "/x/%2e%2E/admin", ("/x/%2e%2E/admin", 403, 403, 403)),
    ("an escaped letter", "/%61dmin", ("/%61dmin", 403, 403, 403)),
    ("backslashes", "/x\\..\\admin", ("/x\\..\\admin", 403, 403, 403)),
    ("dots with parameters, as Java takes them", "/x/..;/admin", ("/x/..;/admin", 403, 403, 403)),
    ("the same with a value", "/x/..;a=b/admin", ("/x/..;a=b/admin", 403, 403, 403)),
    ("escaped dots with parameters", "/x/%2e%2e;/admin", ("/x/%2e%2e;/admin", 403, 403, 403)),
    ("backslashes, dots, parameters", "/x\\..;\\admin", ("/x\\..;\\admin", 403, 403, 403)),
    ("a zero byte", "/admin%00", ("/admin%00", 400, 400, 400)),
    ("two slashes", "//admin", ("//admin", "//admin", 403, 403)),
    ("slashes and dots", "/.//admin", ("/.//admin", "//admin", 403, 403)),
    ("an escaped slash", "/%2fadmin", ("/%2fadmin", "/%2fadmin", "/%2fadmin", 403)),
    ("dots, escaped slash", "/x%2f..%2fadmin", ("/x%2f..%2fadmin",) * 3 + (403,)),
    ("an escaped backslash", "/x%5c..%5cadmin", ("/x%5c..%5cadmin",) * 3 + (403,)),
    ("an escaped slash behind", "/admin%2fx", ("/admin%2fx",) * 3 + (403,)),
    # Other paths to an application that reads paths as RFC 3986 does.
    ("escaped twice", "/%252e/admin", ("/%252e/admin",) * 4),
    ("another case", "/ADMIN", ("/ADMIN",) * 4),
    ("parameters of a segment", "/admin;x=1", ("/admin;x=1",) * 4),
    ("a trailing dot", "/admin.", ("/admin.",) * 4),
    # No paths at all.
    ("no slash", "admin", (400, 400, 400, 400)),
    ("a tab", "/ad\tmin", (400, 400, 400, 400)),
    ("a space", "/admin /x", (400, 400, 400, 400)),
]
"""What comes of a path at a rule that denies /admin and /admin/*, by normalisation: NONE, BASE,
MERGE_SLASHES, DECODE_AND_MERGE_SLASHES, as Istio documents them (MeshConfig)."""


@pytest.mark.parametrize("kind", ["deny", "gate-deny"])
async def test_a_denied_path_stays_denied(attacked: Attacked, kind: str) -> None:
    for trick, path, outcomes in PATHS:
        for mode, column in MODES.items():
            sent = request("GET", path, "host: shop.test", "connection: close")
            found = await attacked.tried(f"{kind}-{mode}", sent)
            arrived = found if isinstance(found, int) else found[0].path
            assert arrived == outcomes[column], f"{trick}: {path} with {mode}"


@pytest.mark.parametrize("kind", ["allow", "gate-allow"])
async def test_only_an_allowed_path_is_allowed(attacked: Attacked, kind: str) -> None:
    """Rules that name what may be done refuse every trick, whatever the normalisation."""
    for trick, path, _ in PATHS:
        for mode in MODES:
            sent = request("GET", path, "host: shop.test", "connection: close")
            found = await attacked.tried(f"{kind}-{mode}", sent)
            assert found in {REFUSED, BAD}, f"{trick}: {path} with {mode}"


@pytest.mark.parametrize("mode", [each for each in MODES if each != "NONE"])
async def test_no_climbing_out_of_an_allowed_path(attacked: Attacked, mode: str) -> None:
    climbs = ("/../", "/..;/", "/%2e%2e/", "/%2e%2e;/", "\\..\\", "\\..;\\", "/..;a=b/", "/.%2e;/")
    for climb in climbs:
        sent = request("GET", f"/public{climb}admin", "host: shop.test", "connection: close")
        assert await attacked.tried(f"allow-{mode}", sent) == REFUSED, climb


HOSTS: Sequence[tuple[str, str, Sequence[str], int | list[str]]] = [
    ("the host itself", "/", ["host: admin.test"], REFUSED),
    ("upper case", "/", ["host: ADMIN.Test"], REFUSED),
    ("a port", "/", ["host: admin.test:8080"], REFUSED),
    ("a trailing dot", "/", ["host: admin.test."], REFUSED),
    ("a dot before the port", "/", ["host: admin.test.:80"], REFUSED),
    ("a tab behind", "/", ["host: admin.test\t"], REFUSED),
    ("a second line", "/", ["host: shop.test", "host: admin.test"], REFUSED),
    ("a second line before", "/", ["host: admin.test", "host: shop.test"], REFUSED),
    ("two in one line", "/", ["host: shop.test,admin.test"], REFUSED),
    ("a name before", "/", ["host: x@admin.test"], REFUSED),
    ("an absolute URL wins", "http://admin.test/", ["host: shop.test"], REFUSED),
    ("an absolute URL with a dot", "http://admin.test./", ["host: shop.test"], REFUSED),
    ("a line of its own after LF", "/", ["host: shop.test", "x: y\nhost: admin.test"], REFUSED),
    ("none", "/", [], BAD),
    ("a space in the name", "/", ["host : admin.test"], BAD),
    ("a space before the name", "/", [" host: admin.test"], BAD),
    ("a pseudo-header", "/", [":authority: admin.test", "host: shop.test"], BAD),
    ("a fragment", "/", ["host: admin.test#"], BAD),
    ("a path", "/", ["host: admin.test/x"], BAD),
    ("two with a space", "/", ["host: shop.test, admin.test"], BAD),
    # What reaches the application is not for the denied host.
    ("the URL's host counts", "http://shop.test/", ["host: admin.test"], ["shop.test"]),
    (
        "a folded line is a value",
        "/",
        ["host: shop.test", "x: y\r\n host: admin.test"],
        ["shop.test"],
    ),
    ("CR ends no line", "/", ["host: shop.test", "x: y\rhost: admin.test"], ["shop.test"]),
]
"""What comes of a host at a rule that denies admin.test with any port, as Istio advises to write
it: a status, or the Host lines that reach the application."""


@pytest.mark.parametrize("name", ["hosts", "gate-hosts"])
async def test_a_denied_host_stays_denied(attacked: Attacked, name: str) -> None:
    for trick, path, lines, wanted in HOSTS:
        found = await attacked.tried(name, request("GET", path, *lines, "connection: close"))
        arrived = found if isinstance(found, int) else found[0].values("host")
        assert arrived == wanted, trick


HEADERS: Sequence[tuple[str, Sequence[str], int, int]] = [
    # The trick, the lines, and what rules say that allow and that deny x-role: admin (200: passes).
    ("the header", ["x-role: admin"], 200, REFUSED),
    ("upper case in the name", ["X-ROLE: admin"], 200, REFUSED),
    ("white space around", ["x-role: \t admin \t"], 200, REFUSED),
    ("a second line", ["x-role: user", "x-role: admin"], 200, REFUSED),
    ("after LF", ["x: y\nx-role: admin"], 200, REFUSED),
    ("a folded line", ["x-role:\r\n admin"], 200, REFUSED),
    ("an underscore", ["x_role: admin"], REFUSED, 200),
    ("upper case in the value", ["x-role: Admin"], REFUSED, 200),
    ("a list in one line", ["x-role: user,admin"], REFUSED, 200),
    ("after CR, which Envoy takes away", ["x: y\rx-role: admin"], REFUSED, 200),
    ("a value in two lines", ["x-role: adm\r\n in"], REFUSED, 200),
    ("a space before the colon", ["x-role : admin"], BAD, BAD),
    ("a zero byte", ["x-role: admin\0"], BAD, BAD),
    ("a control character", ["x-role: \x0badmin"], BAD, BAD),
    ("no name", [": admin"], BAD, BAD),
]


@pytest.mark.parametrize("gate", ["", "gate-"], ids=["sidecar", "gateway"])
async def test_headers_are_what_they_are_called(attacked: Attacked, gate: str) -> None:
    for trick, lines, allowing, denying in HEADERS:
        sent = request("GET", "/", "host: shop.test", *lines, "connection: close")
        for name, wanted in (("admins", allowing), ("no-admins", denying)):
            found = await attacked.tried(gate + name, sent)
            assert (found if isinstance(found, int) else 200) == wanted, f"{trick}: {name}"


@pytest.mark.parametrize("name", ["deny-BASE", "gate-deny-BASE"])
async def test_no_header_changes_what_rules_see(attacked: Attacked, name: str) -> None:
    """Neither Envoy's own headers nor those that frameworks know lead to another path."""
    told = (
        "x-envoy-original-path",
        "x-original-url",
        "x-rewrite-url",
        "x-envoy-path",
        "x-forwarded-prefix",
    )
    for header in told:
        sent = request("GET", "/admin", "host: a", f"{header}: /public", "connection: close")
        assert await attacked.tried(name, sent) == REFUSED, header


async def test_orders_to_envoy_from_outside_do_not_arrive(attacked: Attacked) -> None:
    """At the edge of the mesh strangers have no say in timeouts, retries, routes or origin."""
    orders = (
        "x-envoy-upstream-rq-timeout-ms: 1",
        "x-envoy-retry-on: 5xx",
        "x-envoy-max-retries: 9",
        "x-envoy-internal: true",
        "x-envoy-force-trace: 1",
        "x-envoy-expected-rq-timeout-ms: 1",
        "x-envoy-decorator-operation: x",
    )
    sent = request(
        "GET", "/", "host: a", *orders, "x-forwarded-for: 198.51.100.7", "connection: close"
    )
    arrived = await attacked.tried("gate-partners", sent)
    assert not isinstance(arrived, int)
    assert arrived[0].values("x-envoy-external-address") == ["198.51.100.7"]
    for order in orders:
        assert not arrived[0].values(order.partition(":")[0]), order


SMUGGLED = request("GET", "/admin", "host: shop.test", "connection: close")
LENGTH = len(SMUGGLED)
FRAMES: Sequence[tuple[str, Sequence[str], bytes, int]] = [
    (
        "length and chunks",
        [f"content-length: {LENGTH + 5}", "transfer-encoding: chunked"],
        b"0\r\n\r\n",
        BAD,
    ),
    ("chunks and length", ["transfer-encoding: chunked", "content-length: 4"], b"0\r\n\r\n", BAD),
    ("two lengths", ["content-length: 0", f"content-length: {LENGTH}"], b"", BAD),
    ("a list of lengths", [f"content-length: 0, {LENGTH}"], b"", BAD),
    ("a length with a sign", [f"content-length: +{LENGTH}"], b"", BAD),
    ("a negative length", ["content-length: -1"], b"", BAD),
    ("a hexadecimal length", ["content-length: 0x10"], b"", BAD),
    ("a space in the length", ["content-length: 1 0"], b"", BAD),
    ("a space before the colon", ["transfer-encoding : chunked"], b"0\r\n\r\n", BAD),
    ("a control character", ["transfer-encoding: \x0bchunked"], b"0\r\n\r\n", BAD),
    ("a chunk that is too long", ["transfer-encoding: chunked"], b"ffffffffffffffff1\r\n", BAD),
    ("LF in a chunk's extension", ["transfer-encoding: chunked"], b"0;x=\n\r\n\r\n", BAD),
    (
        "two codings",
        ["transfer-encoding: chunked", "transfer-encoding: identity"],
        b"0\r\n\r\n",
        UNKNOWN_CODING,
    ),
    ("a list of codings", ["transfer-encoding: identity, chunked"], b"0\r\n\r\n", UNKNOWN_CODING),
    ("an unknown coding", ["transfer-encoding: xchunked"], b"0\r\n\r\n", UNKNOWN_CODING),
]


@pytest.mark.parametrize("name", ["paths", "gate-paths"])
async def test_no_second_request_hides_in_the_first(attacked: Attacked, name: str) -> None:
    """Proxy and application agree where a request ends, or it is refused whole."""
    for trick, lines, body, wanted in FRAMES:
        sent = request("POST", "/public", "host: shop.test", *lines, body=body + SMUGGLED)
        assert await attacked.tried(name, sent) == wanted, trick


@pytest.mark.parametrize("name", ["paths", "gate-paths"])
async def test_every_request_of_a_connection_is_judged(attacked: Attacked, name: str) -> None:
    """One after the other, behind a body, and where the client wants to change the protocol."""
    first = [
        request("GET", "/public", "host: shop.test"),
        request("POST", "/public", "host: shop.test", "content-length: 4", body=b"body"),
        request("GET", "/public", "host: shop.test", "content-length: 4", body=b"body"),
        request(
            "POST", "/public", "host: shop.test", "transfer-encoding:\tchunked", body=b"0\r\n\r\n"
        ),
        request("GET", "/public", "host: shop.test", "connection: upgrade", "upgrade: h2c"),
        request("GET", "/public", "host: shop.test", "connection: upgrade", "upgrade: websocket"),
    ]
    for each in first:
        arrived = await attacked.tried(name, each + SMUGGLED)
        assert not isinstance(arrived, int)
        assert [found.path for found in arrived] == ["/public"], each


BASE = [(":method", "GET"), (":scheme", "http"), (":authority", "shop.test"), (":path", "/public")]


def http2(*more: tuple[str, str], **other: str) -> Headers:
    """Headers of a request, some of them other ones, and more behind."""
    return [*((name, other.get(name[1:], value)) for name, value in BASE), *more]


REQUESTS_2: Sequence[tuple[str, Headers, Sequence[str]]] = [
    ("the path", http2(path="/admin"), []),
    ("a fragment", http2(path="/admin#x"), []),
    ("dots", http2(path="/x/../admin"), []),
    ("two paths", http2((":path", "/admin")), []),
    ("two paths, turned", [*http2(path="/admin"), (":path", "/public")], []),
    ("a URL as path", http2(path="http://shop.test/admin"), []),
    ("no slash", http2(path="admin"), []),
    ("no path", http2(path=""), []),
    ("a request in the path", http2(path="/public HTTP/1.1\r\n\r\nGET /admin"), []),
    ("a request in the method", http2(method="GET /admin HTTP/1.1\r\nx:"), []),
    ("the host", http2(authority="admin.test"), []),
    ("the host with a dot", http2(authority="admin.test."), []),
    ("a denied authority, another host", http2(("host", "shop.test"), authority="admin.test"), []),
    ("another authority, a denied host", http2(("host", "admin.test")), ["shop.test"]),
    ("a denied host only", [*BASE[:2], BASE[3], ("host", "admin.test")], []),
    ("two authorities", http2((":authority", "admin.test")), []),
    ("a list of authorities", http2(authority="shop.test,admin.test"), []),
    ("a name in the authority", http2(authority="x@admin.test"), []),
    ("a line in the authority", http2(authority="shop.test\r\nhost: admin.test"), []),
    ("a path in the authority", http2(authority="shop.test/admin"), []),
    ("a pseudo-header behind others", [*BASE[:3], ("x", "y"), BASE[3]], []),
    ("an unknown pseudo-header", http2((":host", "admin.test")), []),
    ("upper case", http2(("X-Role", "admin")), []),
    ("a line in a value", http2(("x", "y\r\nx-role: admin")), []),
    ("LF in a value", http2(("x", "y\nx-role: admin")), []),
    ("CR in a value", http2(("x", "y\rx-role: admin")), []),
    ("a zero byte", http2(("x-role", "admin\0")), []),
    ("a line in a name", http2(("x: y\r\nx-role", "admin")), []),
    ("a space in a name", http2(("x-role ", "admin")), []),
    ("no name", http2(("", "admin")), []),
    ("headers of connections", http2(("connection", "x-forwarded-client-cert")), []),
    ("chunks", http2(("transfer-encoding", "chunked")), []),
    ("a length without a body", http2(("content-length", "10")), []),
    ("a tunnel", [(":method", "CONNECT"), (":authority", "admin.test:80")], []),
    ("nothing special", http2(), ["shop.test"]),
]
"""Requests of HTTP/2 at rules that deny /admin and admin.test, and the host that the application
is asked for /public; nothing if nothing reaches it."""


@pytest.mark.parametrize("name", ["both", "gate-both"])
async def test_http2_hides_nothing_from_rules(attacked: Attacked, name: str) -> None:
    async with asyncio.TaskGroup() as tasks:  # Envoy takes a second to close a bad connection.
        for number, (_, headers, _) in enumerate(REQUESTS_2):
            tasks.create_task(attacked.tried_http2(name, number, headers))
    for number, (trick, _, hosts) in enumerate(REQUESTS_2):
        arrived = attacked.numbered(name, number)
        assert [found.path for found in arrived] == ["/public"] * len(hosts), trick
        assert [host for found in arrived for host in found.values("host")] == hosts, trick


XFCC = "x-forwarded-client-cert"
FORGED = f'By=spiffe://{WEB};Hash=0;Subject="";URI=spiffe://{CART}'


async def test_forged_certificates_convince_nobody(attacked: Attacked) -> None:
    """Rules go by the handshake. Whoever has no certificate cannot forward one; what a caller with
    one forwards stands before the proxy's own word (APPEND_FORWARD, pilot.md E9)."""
    sent = request("GET", "/", "host: a", f"{XFCC}: {FORGED}", "connection: close")
    web, cart = replace(NEIGHBOUR, principal=WEB), replace(NEIGHBOUR, principal=CART)
    assert await attacked.tried("carts", sent, NEIGHBOUR) == REFUSED
    assert await attacked.tried("carts", sent, web) == REFUSED
    assert await attacked.tried("gate-carts", sent, NEIGHBOUR) == REFUSED
    assert await certificates(attacked, "not-from-77", sent, NEIGHBOUR) == []
    assert await certificates(attacked, "gate-not-from-77", sent, NEIGHBOUR) == []
    for caller in (web, cart):
        (line,) = await certificates(attacked, "not-from-77", sent, caller)
        forwarded, own = line.split(",")
        assert forwarded == FORGED
        assert own.startswith(f"By=spiffe://{WEB};Hash=")
        assert own.endswith(f';Subject="";URI=spiffe://{caller.principal}')


async def test_nobody_has_the_proof_of_who_calls_taken_away(attacked: Attacked) -> None:
    """`connection` names headers for one hop only; that is not what the proxy itself adds."""
    sent = request("GET", "/", "host: a", f"{XFCC}: {FORGED}", f"connection: close, {XFCC}")
    web = replace(NEIGHBOUR, principal=WEB)
    (line,) = await certificates(attacked, "not-from-77", sent, web)
    assert line.endswith(f"URI=spiffe://{WEB}")
    assert FORGED not in line


async def test_programs_cannot_forge_certificates_through_their_sidecar(tmp_path: Path) -> None:
    """What a program says of certificates ends at its own sidecar (outbound: SANITIZE)."""
    cluster = "outbound|80||a.test"
    entry = service("a", "80/HTTP", addresses="10.9.0.9")
    async with outbound_envoy(tmp_path, sidecar_proxy(), entry, http=[cluster]) as site:
        reply = await site.fetch("10.9.0.9:80", "a.test", headers={XFCC: FORGED, "x-other": "1"})
    assert reply.echo.header("x-other") == "1"
    assert reply.echo.header(XFCC) == ""


async def certificates(attacked: Attacked, name: str, sent: bytes, caller: Call) -> Sequence[str]:
    """The forwarded certificates that reach the application."""
    arrived = await attacked.tried(name, sent, caller)
    assert not isinstance(arrived, int)
    return arrived[0].values(XFCC)


@pytest.mark.parametrize("gate", ["", "gate-"], ids=["sidecar", "gateway"])
@pytest.mark.parametrize("forged", ["127.0.0.1", "127.0.0.77, 127.0.0.1", "::1", "nonsense", ""])
async def test_forged_addresses_do_not_help_whom_an_address_block_bars(
    attacked: Attacked, gate: str, forged: str
) -> None:
    """ipBlocks are about the connection, whatever the header says."""
    sent = request("GET", "/", "host: a", f"x-forwarded-for: {forged}", "connection: close")
    assert await attacked.tried(f"{gate}not-from-77", sent, STRANGER) == REFUSED
    assert await attacked.tried(f"{gate}not-from-77", sent, NEIGHBOUR) != REFUSED


FORWARDED = [
    # The header's lines; whether a gateway that trusts nobody, and one that trusts the proxy before
    # it, take the caller for 127.0.0.0/8 and for 198.51.100.0/24.
    ([], True, False),
    (["198.51.100.7"], True, True),
    (["198.51.100.7, 203.0.113.1"], True, False),
    (["203.0.113.1, 198.51.100.7"], True, True),
    (["203.0.113.1", "198.51.100.7"], True, True),
    (["198.51.100.7", "203.0.113.1"], True, False),
    (["198.51.100.7, nonsense"], True, False),
    (["198.51.100.7,"], True, False),
    (["198.51.100.7:80"], True, False),
]


async def test_a_gateway_believes_the_proxies_it_trusts_and_nobody_else(
    attacked: Attacked,
) -> None:
    """remoteIpBlocks are about the caller as far as gatewayTopology trusts the header (E9)."""
    for lines, local, partner in FORWARDED:
        written = [f"x-forwarded-for: {each}" for each in lines]
        sent = request("GET", "/", "host: a", *written, "connection: close")
        found = await attacked.tried("gate-not-remote", sent)
        assert (found != REFUSED) is local, lines
        found = await attacked.tried("gate-partners", sent)
        assert (found != REFUSED) is partner, lines
