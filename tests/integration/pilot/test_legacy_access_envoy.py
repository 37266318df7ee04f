"""Roles of Istio 1.0 to 1.4 in a real Envoy: each row of pilot.md J7, and what they mean at large.

All are listeners of one Envoy; each row meets a call that it is about and one that it is not.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from mast.pilot.core import names
from mast.pilot.core.listeners.http_connection_manager import HTTP_CONNECTION_MANAGER
from mast.pilot.core.packing import packed
from mast.pilot.core.xds.resources import LDS
from tests.support.authorization_cases import LABELS, NAMESPACE, ONE, TWO, Case
from tests.support.authorization_envoy import Callers, observed, running, texts
from tests.support.authorization_reference import Call, Document, Place
from tests.support.legacy_access_cases import ACCOUNT, HOST, LegacyCase, legacy_cases
from tests.support.legacy_access_reference import ruling
from tests.support.mesh_yaml import sidecar_proxy, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES, REQUESTS, STREAMS = 60, 10, 4
ALIAS = "old-td"
PLACE = Place(namespace=NAMESPACE, labels=LABELS, trust_domains=("cluster.local", ALIAS))
CART = "cluster.local/ns/shop/sa/cart"
ADMIN = "cluster.local/ns/ops/sa/root.admin"
OLD_CART = f"{ALIAS}/ns/shop/sa/cart"

REQUEST = Call(
    http=True,
    address="10.1.0.7",
    port=8080,
    source_ip="127.0.0.1",
    remote_ip="127.0.0.1",
    path="/a",
    host="shop.test",
)
BYTES = replace(REQUEST, http=False, port=9000)
ANYBODY: Mapping[str, Any] = {"user": "*"}


@dataclass(frozen=True)
class Row:
    """A rule or a subject, changes of a call that it is about, and of one that it is not.

    None: it is about no call. What is about connections counts `on_tcp` as well.
    """

    rule: Mapping[str, Any]
    subject: Mapping[str, Any]
    hit: Mapping[str, Any] | None
    miss: Mapping[str, Any] | None
    on_tcp: bool = False


def rule(
    hit: Mapping[str, Any] | None,
    miss: Mapping[str, Any] | None,
    *,
    on_tcp: bool = False,
    **fields: Any,
) -> Row:
    return Row({"services": ["*"], **fields}, ANYBODY, hit, miss, on_tcp)


def constraint(
    key: str,
    value: str,
    hit: Mapping[str, Any] | None,
    miss: Mapping[str, Any] | None,
    *,
    on_tcp: bool = False,
) -> Row:
    return rule(hit, miss, on_tcp=on_tcp, constraints=[{"key": key, "values": [value]}])


def subject(
    hit: Mapping[str, Any] | None,
    miss: Mapping[str, Any] | None,
    *,
    on_tcp: bool = False,
    **fields: Any,
) -> Row:
    return Row({"services": ["*"]}, fields, hit, miss, on_tcp)


def property_(
    key: str,
    value: str,
    hit: Mapping[str, Any] | None,
    miss: Mapping[str, Any] | None,
    *,
    on_tcp: bool = False,
) -> Row:
    return subject(hit, miss, on_tcp=on_tcp, properties={key: value})


def caller(principal: str, sni: str = "") -> Mapping[str, Any]:
    return {"principal": principal, "sni": sni}


def role(value: str) -> Mapping[str, Any]:
    return {"headers": (("x-role", value),)}


def token(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"claims": claims}


SAME: Mapping[str, Any] = {}
ROWS: Mapping[str, Row] = {
    "services": rule(SAME, None, services=[HOST], on_tcp=True),
    "services-short": rule(SAME, None, services=["web"], on_tcp=True),
    "services-prefix": rule(SAME, None, services=["web.*"], on_tcp=True),
    "services-suffix": rule(SAME, None, services=["*.cluster.local"], on_tcp=True),
    "services-other": rule(None, SAME, services=["other", "web.other"], on_tcp=True),
    "methods": rule(SAME, {"method": "POST"}, methods=["GET"]),
    "methods-any": rule({"method": "POST"}, None, methods=["*"]),
    "not-methods": rule({"method": "POST"}, SAME, notMethods=["GET"]),
    "paths": rule({"path": "/a?x=/b"}, {"path": "/a/b"}, paths=["/a"]),
    "paths-prefix": rule({"path": "/a/b"}, {"path": "/b?x=/a/"}, paths=["/a*"]),
    "paths-suffix": rule({"path": "/x/a"}, {"path": "/x?y=/a"}, paths=["*/a"]),
    "paths-no-template": rule({"path": "/%7B*%7D"}, SAME, paths=["/%7B*%7D"]),
    "not-paths": rule({"path": "/b"}, SAME, notPaths=["/a"]),
    "hosts": rule({"host": "SHOP.test"}, {"host": "other"}, hosts=["Shop.test"]),
    "not-hosts": rule({"host": "other"}, {"host": "SHOP.test"}, notHosts=["shop.*"]),
    "ports": rule(SAME, {"port": 8081}, ports=[8080]),
    "not-ports": rule({"port": 8081}, SAME, notPorts=[8080]),
    "tcp-ports": rule({"port": 9001}, SAME, ports=[9001], on_tcp=True),
    "ip": constraint("destination.ip", "10.1.0.8/31", {"address": "10.1.0.8"}, SAME, on_tcp=True),
    "port": constraint("destination.port", "8080", SAME, {"port": 8081}),
    "label": constraint("destination.labels[version]", "v*", SAME, None, on_tcp=True),
    "other-label": constraint("destination.labels[version]", "v2", None, SAME, on_tcp=True),
    "no-label": constraint("destination.labels[none]", "*", None, SAME, on_tcp=True),
    "namespace": constraint("destination.namespace", NAMESPACE, SAME, None, on_tcp=True),
    "other-namespace": constraint("destination.namespace", "ops", None, SAME, on_tcp=True),
    "name": constraint("destination.name", "web", SAME, None, on_tcp=True),
    "other-name": constraint("destination.name", HOST, None, SAME, on_tcp=True),
    "user": constraint("destination.user", ACCOUNT, SAME, None, on_tcp=True),
    "other-user": constraint("destination.user", "cart", None, SAME, on_tcp=True),
    "header": constraint("request.headers[X-Role]", "admin*", role("admin-2"), role("user")),
    "header-there": constraint("request.headers[x-role]", "*", role("user"), SAME),
    "sni": constraint(
        "connection.sni", "*.test", caller(CART, "a.test"), caller(CART, "b"), on_tcp=True
    ),
    "metadata": constraint("experimental.envoy.filters.test.set[colour]", "red", SAME, None),
    "other-metadata": constraint("experimental.envoy.filters.test.set[size]", "red", None, SAME),
    "anybody": subject(SAME, None, user="*", on_tcp=True),
    "somebody": subject(caller(CART), SAME, user=CART, on_tcp=True),
    "alias": subject(caller(OLD_CART), caller(ADMIN), user=CART, on_tcp=True),
    "names": subject(caller(CART), caller(ADMIN), names=[CART], on_tcp=True),
    "all-users": subject(SAME, None, names=["allUsers"], on_tcp=True),
    "known-users": subject(caller(ADMIN), SAME, names=["allAuthenticatedUsers"], on_tcp=True),
    "not-names": subject(caller(ADMIN), caller(CART), notNames=[CART], on_tcp=True),
    "namespaces": subject(caller(CART), caller(ADMIN), namespaces=["shop"], on_tcp=True),
    "not-namespaces": subject(caller(ADMIN), caller(CART), notNamespaces=["shop"], on_tcp=True),
    "ips": subject({"source_ip": "127.1.2.3"}, SAME, ips=["127.1.0.0/16"], on_tcp=True),
    "not-ips": subject(SAME, {"source_ip": "127.1.2.3"}, notIps=["127.1.0.0/16"], on_tcp=True),
    "group": subject(token(ONE), SAME, group="ops"),
    "groups": subject(token(TWO), token({**TWO, "groups": "x"}), groups=["staff"]),
    "not-groups": subject(token(TWO), token(ONE), notGroups=["ops"]),
    "all-of-a-subject": subject(
        {**caller(CART), **role("admin")},
        caller(CART),
        user=CART,
        properties={"request.headers[x-role]": "admin"},
    ),
    "source-ip": property_("source.ip", "127.9.0.1", {"source_ip": "127.9.0.1"}, SAME, on_tcp=True),
    "source-principal": property_("source.principal", CART, caller(CART), SAME, on_tcp=True),
    "source-user": property_("source.user", "*/sa/cart", caller(CART), caller(ADMIN)),
    "source-namespace": property_(
        "source.namespace", "ops", caller(ADMIN), caller(CART), on_tcp=True
    ),
    "property-header": property_("request.headers[x-role]", "admin", role("admin"), role("user")),
    "request-principal": property_(
        "request.auth.principal", "https://one.test/alice", token(ONE), token(TWO)
    ),
    "audiences": property_("request.auth.audiences", "web", token(ONE), token(TWO)),
    "presenter": property_("request.auth.presenter", "cli", token(ONE), token(TWO)),
    "claim": property_("request.auth.claims[groups]", "ops", token(ONE), token(TWO)),
}


def switch(**spec: Any) -> Document:
    return obj("ClusterRbacConfig", "default", "", {"mode": "ON", **spec})


def obj(kind: str, name: str, namespace: str, spec: Mapping[str, Any]) -> Document:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "rbac.istio.io/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def granted(name: str, row: Row, **more: Any) -> Sequence[Document]:
    """A role and its binding."""
    bound = {"roleRef": {"kind": "ServiceRole", "name": name}, "subjects": [row.subject], **more}
    return [
        obj("ServiceRole", name, NAMESPACE, {"rules": [row.rule]}),
        obj("ServiceRoleBinding", name, NAMESPACE, bound),
    ]


READ, WRITE = rule(SAME, None, methods=["GET"]), rule(SAME, None, methods=["POST"])
DENYING = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "new", "namespace": NAMESPACE},
    "spec": {"action": "DENY", "rules": [{"to": [{"operation": {"methods": ["POST"]}}]}]},
}
SETS: Mapping[str, Sequence[Document]] = {
    "off": [switch(mode="OFF")],
    "nothing-granted": [switch()],
    "included": [
        switch(mode="ON_WITH_INCLUSION", inclusion={"services": [HOST]}),
        *granted("read", READ),
    ],
    "not-included": [
        switch(mode="ON_WITH_INCLUSION", inclusion={"namespaces": ["other"]}),
        *granted("read", READ),
    ],
    "excluded": [
        switch(mode="ON_WITH_EXCLUSION", exclusion={"namespaces": [NAMESPACE]}),
        *granted("read", READ),
    ],
    "not-excluded": [
        switch(mode="ON_WITH_EXCLUSION", exclusion={"services": ["other.shop"]}),
        *granted("read", READ),
    ],
    "old-switch": [obj("RbacConfig", "default", "any", {"mode": "ON"}), *granted("read", READ)],
    "whole-is-tried": [switch(enforcementMode="PERMISSIVE"), *granted("read", READ)],
    "binding-is-tried": [
        switch(),
        *granted("read", READ),
        *granted("write", WRITE, mode="PERMISSIVE"),
    ],
    "newer-kind": [switch(), *granted("read", READ), DENYING],
}


def inbound(case: Case) -> Listener:
    """The listener that takes the workload's connections, as Pilot sends it."""
    proxy = sidecar_proxy(NAMESPACE, labels=LABELS, SERVICE_ACCOUNT=ACCOUNT)
    found = world(*texts(case)).snapshot(1).view(proxy).named(LDS, names.VIRTUAL_INBOUND)
    assert found is not None
    return Listener.FromString(found.body)


def tried(listener: Listener) -> Listener:
    """The listener, whose answers name the role that would allow a request if it counted."""
    for each in (every for chain in listener.filter_chains for every in chain.filters):
        manager = HttpConnectionManager()
        if each.name == HTTP_CONNECTION_MANAGER and each.typed_config.Unpack(manager):
            made = manager.route_config.response_headers_to_add.add().header
            made.key, made.value = "x-left-allow", f"%DYNAMIC_METADATA({SHADOW})%"
            each.typed_config.CopyFrom(packed(manager))
    return listener


SHADOW = "envoy.filters.http.rbac:shadow_effective_policy_id"


def listeners(cases: Mapping[str, LegacyCase]) -> Iterator[tuple[str, Listener]]:
    for name, row in ROWS.items():
        case = Case(PLACE, [switch(), *granted("role", row)], ())
        yield name, observed(inbound(case), name)
    for name, objects in SETS.items():
        yield name, tried(observed(inbound(Case(PLACE, objects, ())), name))
    for name, drawn in cases.items():
        yield name, observed(inbound(drawn.case), name)


@dataclass
class Site:
    """The Envoy of all roles."""

    callers: Callers
    cases: Mapping[str, LegacyCase]

    async def allows(self, name: str, call: Call) -> bool:
        """Whether a call gets through to the application."""
        return (await self.callers.decision(name, call)).allowed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    drawn = legacy_cases(0, CASES, http=REQUESTS, tcp=STREAMS)
    cases = {f"case-{number}": each for number, each in enumerate(drawn)}
    identities = {call.principal for each in drawn for call in each.case.calls} - {""}
    directory = tmp_path_factory.mktemp("envoy")
    async with running(directory, dict(listeners(cases)), identities | {CART, ADMIN, OLD_CART}) as (
        _,
        callers,
    ):
        yield Site(callers, cases)


@pytest.mark.parametrize("name", ROWS)
async def test_rows(site: Site, name: str) -> None:
    row = ROWS[name]
    for base in [BYTES] if name.startswith("tcp") else [REQUEST, *([BYTES] if row.on_tcp else [])]:
        for change, allowed in ((row.hit, True), (row.miss, False)):
            if change is not None:
                assert await site.allows(name, replace(base, **change)) is allowed, (base, change)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.on_tcp])
async def test_what_is_about_requests_allows_no_connections(site: Site, name: str) -> None:
    """Even if the connection has what the row asks for (Istio 1.4, TCP)."""
    row = ROWS[name]
    if not {"ports", "notPorts"} & row.rule.keys() and name not in {"port", "metadata"}:
        assert not await site.allows(name, replace(BYTES, **(row.hit or {}), port=9000))


@pytest.mark.parametrize(
    ("name", "method", "allowed"),
    [
        pytest.param("off", "POST", True, id="off"),
        pytest.param("nothing-granted", "GET", False, id="nothing-is-granted"),
        pytest.param("included", "GET", True, id="included-and-granted"),
        pytest.param("included", "POST", False, id="included"),
        pytest.param("not-included", "POST", True, id="not-included"),
        pytest.param("excluded", "POST", True, id="excluded"),
        pytest.param("not-excluded", "GET", True, id="not-excluded-and-granted"),
        pytest.param("not-excluded", "POST", False, id="not-excluded"),
        pytest.param("old-switch", "GET", True, id="old-switch-and-granted"),
        pytest.param("old-switch", "POST", False, id="old-switch"),
        pytest.param("whole-is-tried", "POST", True, id="the-switch-is-tried"),
        pytest.param("binding-is-tried", "GET", True, id="one-binding-counts"),
        pytest.param("binding-is-tried", "POST", False, id="the-other-is-tried"),
        pytest.param("newer-kind", "PUT", True, id="a-newer-kind-switches-roles-off"),
        pytest.param("newer-kind", "POST", False, id="the-newer-kind-counts"),
    ],
)
async def test_switches_and_modes(site: Site, name: str, method: str, allowed: bool) -> None:
    assert await site.allows(name, replace(REQUEST, method=method)) is allowed


@pytest.mark.parametrize(
    ("method", "role_name"),
    [pytest.param("GET", "read", id="would-pass"), pytest.param("POST", "", id="would-not")],
)
async def test_what_is_tried_is_told(site: Site, method: str, role_name: str) -> None:
    """Mixer reads it as `rbac.permissive.effective_policy_id`."""
    found = await site.callers.decision("whole-is-tried", replace(REQUEST, method=method))
    assert found.allowed
    assert found.left.get("allow", "") == role_name


async def test_envoy_decides_as_drawn_roles_say(site: Site) -> None:
    verdicts = {True: 0, False: 0}
    for name, each in site.cases.items():
        for call in each.case.calls:
            expected = ruling(each.objects, each.served, call)
            found = await site.allows(name, call)
            assert found == expected.allowed, (each.objects, call)
            verdicts[found] += 1
    assert min(verdicts.values()) > len(site.cases), verdicts
