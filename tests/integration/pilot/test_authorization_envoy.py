"""AuthorizationPolicies in a real Envoy: each row of pilot.md J4 allows, denies and negates.

All rules are listeners of one Envoy; each meets a call that it is about and one that it is not.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.pilot.core import names
from mast.pilot.core.xds.resources import LDS
from tests.support.authorization_cases import LABELS, NAMESPACE, ONE, ROOT, TWO, Case
from tests.support.authorization_envoy import Callers, inbound, observed, running, texts
from tests.support.authorization_reference import Call, Document, Place
from tests.support.envoy_server import EnvoyServer
from tests.support.mesh_yaml import sidecar_proxy, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALIAS = "old-td"
PLACE = Place(namespace=NAMESPACE, labels=LABELS, trust_domains=("cluster.local", ALIAS))
CART = "cluster.local/ns/shop/sa/cart"
ADMIN = "cluster.local/ns/ops/sa/root.admin"
OLD_CART = f"{ALIAS}/ns/shop/sa/cart"
IDENTITIES = (CART, ADMIN, OLD_CART)

REQUEST = Call(
    http=True,
    address="10.1.0.7",
    port=8080,
    source_ip="127.0.0.1",
    remote_ip="127.0.0.1",
    host="shop.test",
)
BYTES = replace(REQUEST, http=False, port=9000)


@dataclass(frozen=True)
class Row:
    """A field of a rule with one value, changes of a call that it is about, and of one it is not.

    `part` is where the field stands: `from`, `to` or `when`.
    """

    part: str
    field: str
    value: str
    hit: Mapping[str, Any]
    miss: Mapping[str, Any]
    on_tcp: bool = False

    def rule(self, *, negated: bool) -> Document:
        """The rule, or that with the field's negation."""
        if self.part == "when":
            values = "notValues" if negated else "values"
            return {"when": [{"key": self.field, values: [self.value]}]}
        name = f"not{self.field[0].upper()}{self.field[1:]}" if negated else self.field
        inner = "source" if self.part == "from" else "operation"
        return {self.part: [{inner: {name: [self.value]}}]}


def forwarded(address: str) -> dict[str, Any]:
    return {"headers": (("x-forwarded-for", address),), "remote_ip": address}


def role(value: str) -> dict[str, Any]:
    return {"headers": (("x-role", value),)}


def caller(principal: str, sni: str = "") -> dict[str, Any]:
    return {"principal": principal, "sni": sni}


ROWS: Mapping[str, Row] = {
    "methods": Row("to", "methods", "GET", {}, {"method": "POST"}),
    "methods-any": Row("to", "methods", "P*", {"method": "PUT"}, {}),
    "paths": Row("to", "paths", "/a", {"path": "/a?x=1"}, {"path": "/a/b"}),
    "paths-prefix": Row("to", "paths", "/a*", {"path": "/a/b"}, {"path": "/b/a"}),
    "paths-suffix": Row("to", "paths", "*.json", {"path": "/a.json"}, {"path": "/a.json/b"}),
    "paths-one-part": Row("to", "paths", "/a/{*}/c", {"path": "/a/b/c"}, {"path": "/a/b/b/c"}),
    "paths-parts": Row("to", "paths", "/a/{**}", {"path": "/a/b/c"}, {"path": "/b/c"}),
    "hosts": Row("to", "hosts", "Shop.test", {"host": "SHOP.test"}, {"host": "shop.test:80"}),
    "hosts-suffix": Row("to", "hosts", "*.test", {"host": "A.TEST"}, {"host": "a.test.example"}),
    "ports": Row("to", "ports", "8080", {}, {"port": 8081}),
    "tcp-ports": Row("to", "ports", "9000", {}, {"port": 9001}, on_tcp=True),
    "principals": Row("from", "principals", CART, caller(CART), caller(ADMIN), on_tcp=True),
    "principals-none": Row("from", "principals", "*", caller(CART), {}, on_tcp=True),
    "principals-prefix": Row(
        "from", "principals", "cluster.local/ns/shop/*", caller(CART), caller(ADMIN), on_tcp=True
    ),
    "principals-suffix": Row(
        "from", "principals", "*/sa/cart", caller(CART), caller(ADMIN), on_tcp=True
    ),
    "principals-alias": Row(
        "from", "principals", CART, caller(OLD_CART), caller(ADMIN), on_tcp=True
    ),
    "namespaces": Row("from", "namespaces", "shop", caller(CART), caller(ADMIN), on_tcp=True),
    "service-accounts": Row(
        "from", "serviceAccounts", "cart", caller(CART), caller(ADMIN), on_tcp=True
    ),
    "service-accounts-of-others": Row(
        "from", "serviceAccounts", "ops/root.admin", caller(ADMIN), caller(CART), on_tcp=True
    ),
    "trust-domains": Row(
        "from", "trustDomains", ALIAS, caller(OLD_CART), caller(CART), on_tcp=True
    ),
    "ip-blocks": Row(
        "from", "ipBlocks", "127.1.0.0/16", {"source_ip": "127.1.2.3"}, {}, on_tcp=True
    ),
    "remote-ip-blocks": Row(
        "from", "remoteIpBlocks", "203.0.113.0/24", forwarded("203.0.113.5"), {}
    ),
    "remote-ip-blocks-6": Row(
        "from", "remoteIpBlocks", "2001:db8::/32", forwarded("2001:db8::5"), {}
    ),
    "request-principals": Row(
        "from", "requestPrincipals", "https://one.test/alice", {"claims": ONE}, {"claims": TWO}
    ),
    "request-principals-any": Row("from", "requestPrincipals", "*", {"claims": ONE}, {}),
    "request-principals-of-an-issuer": Row(
        "from", "requestPrincipals", "two@test/*", {"claims": TWO}, {"claims": ONE}
    ),
    "request-principals-suffix": Row(
        "from", "requestPrincipals", "*/bob/2", {"claims": TWO}, {"claims": ONE}
    ),
    "destination-port": Row("when", "destination.port", "8080", {}, {"port": 8081}),
    "destination-ip": Row(
        "when", "destination.ip", "10.1.0.7", {}, {"address": "10.1.0.8"}, on_tcp=True
    ),
    "sni": Row(
        "when",
        "connection.sni",
        "*.test",
        caller(CART, "a.test"),
        caller(CART, "b.example"),
        on_tcp=True,
    ),
    "source-ip": Row(
        "when", "source.ip", "127.1.0.0/16", {"source_ip": "127.1.2.3"}, {}, on_tcp=True
    ),
    "remote-ip": Row("when", "remote.ip", "203.0.113.5", forwarded("203.0.113.5"), {}),
    "source-principal": Row(
        "when", "source.principal", CART, caller(CART), caller(ADMIN), on_tcp=True
    ),
    "source-namespace": Row(
        "when", "source.namespace", "*ops", caller(ADMIN), caller(CART), on_tcp=True
    ),
    "source-service-account": Row(
        "when", "source.serviceAccount", "cart", caller(CART), caller(ADMIN), on_tcp=True
    ),
    "source-trust-domain": Row(
        "when", "source.trustDomain", "cluster.*", caller(CART), caller(OLD_CART), on_tcp=True
    ),
    "token": Row("when", "request.auth.principal", "*", {"claims": ONE}, {}),
    "audience": Row("when", "request.auth.audiences", "web", {"claims": ONE}, {"claims": TWO}),
    "audience-alone": Row(
        "when", "request.auth.audiences", "api", {"claims": TWO}, {"claims": {**TWO, "aud": "x"}}
    ),
    "presenter": Row("when", "request.auth.presenter", "cli", {"claims": ONE}, {"claims": TWO}),
    "claim": Row("when", "request.auth.claims[groups]", "ops", {"claims": ONE}, {"claims": TWO}),
    "nested-claim": Row(
        "when", "request.auth.claims[nested][team]", "b*", {"claims": TWO}, {"claims": ONE}
    ),
    "words-of-a-claim": Row(
        "when", "request.auth.claims[scope]", "write", {"claims": ONE}, {"claims": TWO}
    ),
    "header": Row("when", "request.headers[X-Role]", "admin", role("admin"), role("user")),
    "header-present": Row("when", "request.headers[x-role]", "*", role("user"), {}),
    "filter-metadata": Row(
        "when",
        "experimental.envoy.filters.http.jwt_authn[payload][azp]",
        "c*",
        {"claims": ONE},
        {"claims": TWO},
    ),
    "filter-metadata-list": Row(
        "when",
        "experimental.envoy.filters.http.jwt_authn[payload][groups]",
        "[ops]",
        {"claims": ONE},
        {"claims": TWO},
    ),
}
"""Every field and condition of J4 with each kind of value that it takes."""

ALLOWING, DENYING = "ALLOW", "DENY"
ADMINS = {"to": [{"operation": {"paths": ["/admin"]}}]}
PORT = {"to": [{"operation": {"ports": ["8080", "9000"]}}]}
BOTH = {
    "to": [{"operation": {"paths": ["/admin"], "ports": ["8080"]}}],
    "from": [{"source": {"notRequestPrincipals": ["*"]}}],
}


def policy(name: str, action: str = ALLOWING, *rules: Document, **more: Any) -> Document:
    """A policy of the workload's namespace; `dry` makes it a dry run."""
    metadata: dict[str, Any] = {"name": name, "namespace": more.get("namespace", NAMESPACE)}
    if more.get("dry"):
        metadata["annotations"] = {"istio.io/dry-run": "true"}
    spec: dict[str, Any] = {"action": action, "rules": list(rules), **more.get("spec", {})}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata,
        "spec": spec,
    }


TEMPLATES = {"to": [{"operation": {"paths": ["/a/{*}", "/b/{**}"]}}]}
NOT_TEMPLATES = {"to": [{"operation": {"notPaths": ["/a/{*}", "/b/{**}"]}}]}

SETS: Mapping[str, list[Document]] = {
    "templates-allow": [policy("a", ALLOWING, TEMPLATES)],
    "templates-deny": [policy("a", DENYING, TEMPLATES)],
    "not-templates-allow": [policy("a", ALLOWING, NOT_TEMPLATES)],
    "not-templates-deny": [policy("a", DENYING, NOT_TEMPLATES)],
    "none": [],
    "allow-nothing": [policy("a")],
    "allow-everything": [policy("a", ALLOWING, {})],
    "deny-everything": [policy("a", DENYING, {}), policy("b", ALLOWING, {})],
    "deny-before-allow": [policy("a", DENYING, ADMINS), policy("b", ALLOWING, {})],
    "one-of-several": [policy("a", ALLOWING, ADMINS), policy("b", ALLOWING, PORT)],
    "http-only-allow": [policy("a", ALLOWING, ADMINS)],
    "http-only-deny": [policy("a", DENYING, ADMINS)],
    "http-and-port-deny": [
        policy("a", DENYING, {"to": [{"operation": {"paths": ["/x"], "ports": ["9000"]}}]})
    ],
    "audit": [policy("a", "AUDIT", ADMINS)],
    "dry-deny": [policy("a", DENYING, ADMINS, dry=True)],
    "dry-allow": [policy("a", ALLOWING, ADMINS, dry=True)],
    "root": [policy("a", DENYING, ADMINS, namespace=ROOT)],
    "root-selects": [
        policy(
            "a", DENYING, ADMINS, namespace=ROOT, spec={"selector": {"matchLabels": {"app": "web"}}}
        )
    ],
    "others-selected": [
        policy("a", DENYING, ADMINS, spec={"selector": {"matchLabels": {"app": "other"}}})
    ],
    "elsewhere": [policy("a", DENYING, ADMINS, namespace="elsewhere")],
    "all-of-a-rule": [policy("a", ALLOWING, BOTH)],
}
"""Whole sets of policies."""


@dataclass
class Judge:
    """The Envoy of all policies, and those who call."""

    envoy: EnvoyServer
    callers: Callers

    async def allows(self, name: str, call: Call) -> bool:
        """Whether a call gets through to the application."""
        return (await self.callers.decision(name, call)).allowed


def of_rows() -> Mapping[str, Document]:
    """The policies of rows by row, action and negation, each for the workload of that name."""
    return {
        (name := f"{row} {action} {negated}"): policy(
            name.replace(" ", "-").lower(),
            action,
            ROWS[row].rule(negated=negated),
            spec={"selector": {"matchLabels": {"case": name}}},
        )
        for row in ROWS
        for action in (ALLOWING, DENYING)
        for negated in (False, True)
    }


def listeners() -> Iterator[tuple[str, Listener]]:
    """What guards each workload."""
    for name, policies in SETS.items():
        yield name, observed(inbound(Case(PLACE, policies, ())), name)
    rows = of_rows()
    mesh = world(*texts(Case(PLACE, list(rows.values()), ()))).snapshot(1)
    for name in rows:
        view = mesh.view(sidecar_proxy(NAMESPACE, labels={**LABELS, "case": name}))
        found = view.named(LDS, names.VIRTUAL_INBOUND)
        assert found is not None
        yield name, observed(Listener.FromString(found.body), name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def judge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Judge]:
    directory = tmp_path_factory.mktemp("authorization")
    async with running(directory, dict(listeners()), IDENTITIES) as (envoy, callers):
        yield Judge(envoy, callers)


@pytest.mark.parametrize("name", ROWS)
async def test_rows(judge: Judge, name: str) -> None:
    row = ROWS[name]
    for base in [BYTES if name.startswith("tcp") else REQUEST, *([BYTES] if row.on_tcp else [])]:
        hit, miss = replace(base, **row.hit), replace(base, **row.miss)
        found = {
            (action, negated): [
                await judge.allows(f"{name} {action} {negated}", each) for each in (hit, miss)
            ]
            for action in (ALLOWING, DENYING)
            for negated in (False, True)
        }
        assert found == {
            (ALLOWING, False): [True, False],
            (ALLOWING, True): [False, True],
            (DENYING, False): [False, True],
            (DENYING, True): [True, False],
        }


@pytest.mark.parametrize(
    ("name", "change", "allowed"),
    [
        pytest.param("none", {}, True, id="no-policy"),
        pytest.param("allow-nothing", {}, False, id="no-rules-allow-nothing"),
        pytest.param("allow-everything", {}, True, id="an-empty-rule-allows-everything"),
        pytest.param("deny-everything", {}, False, id="an-empty-rule-denies-everything"),
        pytest.param("deny-before-allow", {"path": "/admin"}, False, id="deny-comes-first"),
        pytest.param("deny-before-allow", {}, True, id="what-nobody-denies"),
        pytest.param("one-of-several", {"path": "/admin", "port": 8081}, True, id="first-allows"),
        pytest.param("one-of-several", {"port": 8080}, True, id="second-allows"),
        pytest.param("one-of-several", {"port": 8081}, False, id="none-allows"),
        pytest.param("root", {"path": "/admin"}, False, id="root-namespace"),
        pytest.param("root-selects", {"path": "/admin"}, False, id="root-namespace-selects"),
        pytest.param("others-selected", {"path": "/admin"}, True, id="other-workloads"),
        pytest.param("elsewhere", {"path": "/admin"}, True, id="another-namespace"),
        pytest.param("all-of-a-rule", {"path": "/admin"}, True, id="all-of-a-rule"),
        pytest.param("all-of-a-rule", {}, False, id="not-all-of-a-rule"),
        pytest.param(
            "all-of-a-rule", {"path": "/admin", "claims": ONE}, False, id="not-the-source"
        ),
    ],
)
async def test_requests(judge: Judge, name: str, change: Mapping[str, Any], allowed: bool) -> None:
    assert await judge.allows(name, replace(REQUEST, **change)) is allowed


@pytest.mark.parametrize(
    ("name", "change", "allowed"),
    [
        pytest.param("none", {}, True, id="no-policy"),
        pytest.param("allow-nothing", {}, False, id="no-rules-allow-nothing"),
        pytest.param("deny-everything", {}, False, id="an-empty-rule-denies-everything"),
        pytest.param("http-only-allow", {}, False, id="a-rule-about-requests-allows-no-bytes"),
        pytest.param("one-of-several", {}, True, id="the-other-rule-does"),
        pytest.param("http-only-deny", {}, False, id="a-rule-about-requests-denies-all-bytes"),
        pytest.param("http-and-port-deny", {}, False, id="its-port-counts"),
        pytest.param("http-and-port-deny", {"port": 9001}, True, id="but-no-other-one"),
        pytest.param("audit", {}, True, id="audit"),
        pytest.param("dry-deny", {}, True, id="dry-run"),
        pytest.param("dry-allow", {}, True, id="dry-run-that-allows-nothing"),
    ],
)
async def test_bytes(judge: Judge, name: str, change: Mapping[str, Any], allowed: bool) -> None:
    """What holds for connections that carry no HTTP (pilot.md J5)."""
    assert await judge.allows(name, replace(BYTES, **change)) is allowed


@pytest.mark.parametrize("path", ["/a/[x]", "/a/[", "/b/x/]", "/b/[/y"])
@pytest.mark.parametrize(
    "name", ["templates-allow", "templates-deny", "not-templates-allow", "not-templates-deny"]
)
async def test_characters_that_templates_do_not_cover(judge: Judge, name: str, path: str) -> None:
    """Envoy's operators leave them out; nothing is allowed for that reason.

    The others are percent-encoded when Envoy normalises the path.
    """
    assert not await judge.allows(name, replace(REQUEST, path=path))


@pytest.mark.parametrize(
    ("name", "key", "hit", "miss"),
    [
        pytest.param("dry-deny", "deny", "denied", "allowed", id="deny"),
        pytest.param("dry-allow", "allow", "allowed", "denied", id="allow"),
    ],
)
async def test_a_dry_run_tells_and_blocks_nothing(
    judge: Judge, name: str, key: str, hit: str, miss: str
) -> None:
    for path, expected in (("/admin", hit), ("/", miss)):
        said = await judge.callers.decision(name, replace(REQUEST, path=path))
        assert said.allowed
        assert said.left[key] == expected
    for expected in (hit, miss):
        stat = f"rbac.istio_dry_run_{key}_.shadow_{expected}"
        assert await judge.envoy.stat(f"http.inbound_0.0.0.0_8080;.{stat}") == 1
    stat = f"tcp.rbac.istio_dry_run_{key}_.shadow_denied"
    before = await judge.envoy.stat(stat)
    assert await judge.allows(name, BYTES)
    # A rule about requests allows no bytes, and denies all.
    assert await judge.envoy.stat(stat) == before + 1


async def test_an_audit_marks_requests(judge: Judge) -> None:
    for path, marked in (("/admin", True), ("/", False)):
        said = await judge.callers.decision("audit", replace(REQUEST, path=path))
        assert said.allowed
        assert (said.left["audited"] == "true") is marked


async def test_a_refusal_names_its_rule(judge: Judge) -> None:
    said = await judge.callers.decision("deny-before-allow", replace(REQUEST, path="/admin"))
    assert (said.status, said.rule) == (403, "ns[shop]-policy[a]-rule[0]")
