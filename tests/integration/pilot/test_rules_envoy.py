"""Which rules of VirtualServices concern whom, in a real Envoy: each row of pilot.md F3, F5, F6.

Every service of a row has an address of its own. What a rule takes ends at `hit.test`; what none
takes goes to the service itself, or to nobody.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.mesh_yaml import reviewed, sidecar_proxy, world
from tests.support.outbound_envoy import Outbound, outbound_envoy

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIT = "hit"
TO_HIT = "route: [{destination: {host: hit.test, port: {number: 9000}}}]"


@dataclass(frozen=True)
class Row:
    """A match of a TCP or TLS rule, and who gets the connection: HIT, "own", or "" for nobody."""

    match: str
    expected: str
    sni: str = ""


TCP: Mapping[str, Row] = {
    "port": Row("{port: 9000}", HIT),
    "another-port": Row("{port: 9001}", "own"),
    "destination-subnet": Row("{destinationSubnets: [10.20.0.0/16]}", HIT),
    "another-destination-subnet": Row("{destinationSubnets: [10.21.0.0/16]}", "own"),
    "source-subnet": Row("{sourceSubnet: 192.0.2.0/24}", HIT),
    "another-source-subnet": Row("{sourceSubnet: 198.18.0.0/15}", "own"),
    "source-labels": Row("{sourceLabels: {app: web}}", HIT),
    "other-source-labels": Row("{sourceLabels: {app: web, tier: gold}}", "own"),
    "source-namespace": Row("{sourceNamespace: default}", HIT),
    "another-source-namespace": Row("{sourceNamespace: other}", "own"),
    "sidecars": Row("{gateways: [mesh]}", HIT),
    "gateways": Row("{gateways: [default/gate]}", "own"),
    "all-of": Row("{port: 9000, sourceNamespace: default, sourceLabels: {app: web}}", HIT),
    "one-of-all": Row("{port: 9000, sourceNamespace: default, sourceLabels: {app: x}}", "own"),
}
TLS: Mapping[str, Row] = {
    "sni": Row("{sniHosts: [SELF]}", HIT, "SELF"),
    "another-sni": Row("{sniHosts: [SELF]}", "", "x.test"),
    "sni-wildcard": Row("{sniHosts: ['*.test']}", HIT, "SELF"),
    "beyond-sni-wildcard": Row("{sniHosts: ['*.test']}", "", "x.example"),
    "tls-destination-subnet": Row(
        "{sniHosts: [SELF], destinationSubnets: [10.20.0.0/16]}", HIT, "SELF"
    ),
    "another-tls-destination-subnet": Row(
        "{sniHosts: [SELF], destinationSubnets: [10.21.0.0/16]}", "", "SELF"
    ),
    "tls-port": Row("{sniHosts: [SELF], port: 9443}", HIT, "SELF"),
    "another-tls-port": Row("{sniHosts: [SELF], port: 443}", "own", "SELF"),
    "tls-source-labels": Row("{sniHosts: [SELF], sourceLabels: {app: web}}", HIT, "SELF"),
    "other-tls-source-labels": Row("{sniHosts: [SELF], sourceLabels: {app: x}}", "own", "SELF"),
    "tls-source-namespace": Row("{sniHosts: [SELF], sourceNamespace: default}", HIT, "SELF"),
    "another-tls-source-namespace": Row("{sniHosts: [SELF], sourceNamespace: x}", "own", "SELF"),
    "tls-sidecars": Row("{sniHosts: [SELF], gateways: [mesh]}", HIT, "SELF"),
    "tls-gateways": Row("{sniHosts: [SELF], gateways: [default/gate]}", "own", "SELF"),
}
LISTS: Mapping[str, tuple[str, str]] = {
    "first-wins": (f"[{{{TO_HIT}}}, {{route: [{{destination: {{host: two.test}}}}]}}]", HIT),
    "no-destinations": (f"[{{match: [{{port: 9000}}]}}, {{{TO_HIT}}}]", HIT),
    "one-has-all-weight": (
        "[{route: [{destination: {host: two.test}, weight: 0},"
        " {destination: {host: hit.test, port: {number: 9000}}, weight: 100}]}]",
        HIT,
    ),
    "any-of": (f"[{{match: [{{port: 1}}, {{port: 9000}}], {TO_HIT}}}]", HIT),
}
"""Whole TCP rules, and who gets the connection."""

HTTP = """
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: callers},
 spec: {hosts: [callers.test], gateways: [mesh, default/gate], http: [
   {match: [{uri: {exact: /labels}, sourceLabels: {app: web}}], route: [&hit {destination:
     {host: hit.test}}]},
   {match: [{uri: {exact: /other-labels}, sourceLabels: {app: x}}], route: [*hit]},
   {match: [{uri: {exact: /namespace}, sourceNamespace: default}], route: [*hit]},
   {match: [{uri: {exact: /other-namespace}, sourceNamespace: x}], route: [*hit]},
   {match: [{uri: {exact: /mesh}, gateways: [mesh]}], route: [*hit]},
   {match: [{uri: {exact: /gateway}, gateways: [default/gate]}], route: [*hit]},
   {match: [{uri: {exact: /port}, port: 80}], route: [*hit]},
   {match: [{uri: {exact: /other-port}, port: 8080}], route: [*hit]},
   {route: [{destination: {host: two.test}}]},
   {match: [{uri: {exact: /late}}], route: [*hit]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: wild},
 spec: {hosts: ["*.wild.test"], http: [
   {match: [{authority: {prefix: a.}}], route: [{destination: {host: hit.test}}]},
   {route: [{destination: {host: two.test}}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: root},
 spec: {hosts: [root.test], http: [
   {match: [{uri: {prefix: /api}, headers: {x-user: {exact: ada}}}],
    delegate: {name: leaf}, headers: {request: {set: {x-root: 'yes'}}}},
   {match: [{uri: {prefix: /gone}}], delegate: {name: nobody}},
   {match: [{uri: {prefix: /gone}}], route: [{destination: {host: two.test}}]},
   {match: [{uri: {prefix: /direct}}], route: [{destination: {host: hit.test}}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: leaf},
 spec: {http: [
   {match: [{uri: {prefix: /api/v1}}], route: [{destination: {host: hit.test}}]},
   {match: [{uri: {prefix: /elsewhere}}], route: [{destination: {host: two.test}}]},
   {match: [{headers: {x-user: {exact: bob}}}], route: [{destination: {host: two.test}}]},
   {match: [{uri: {exact: /api/exact}}], rewrite: {uri: /seen},
    route: [{destination: {host: two.test}}]}]}}
"""


def address(name: str) -> str:
    return f"10.20.0.{1 + [*TCP, *TLS, *LISTS].index(name)}"


def service(name: str, ports: str, *addresses: str) -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}},
 spec: {{hosts: [{name}.test], addresses: [{", ".join(addresses)}], resolution: STATIC,
        ports: [{ports}]}}}}
---
"""


def rule(name: str, rules: str) -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}}},
 spec: {{hosts: [{name}.test], gateways: [mesh, default/gate], {rules}}}}}
---
"""


def mesh() -> str:
    found = [
        "{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,"
        " metadata: {name: default, namespace: istio-system},"
        " spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}\n---\n",
        service("hit", "{number: 80, name: http, protocol: HTTP}"),
        service("two", "{number: 80, name: http, protocol: HTTP}"),
    ]
    for name, row in TCP.items():
        found.append(service(name, "{number: 9000, name: tcp, protocol: TCP}", address(name)))
        found.append(rule(name, f"tcp: [{{match: [{row.match}], {TO_HIT}}}]"))
    for name, row in TLS.items():
        match = row.match.replace("SELF", f"{name}.test")
        found.append(service(name, "{number: 9443, name: tls, protocol: TLS}", address(name)))
        found.append(rule(name, f"tls: [{{match: [{match}], {TO_HIT}}}]"))
    for name, (rules, _) in LISTS.items():
        found.append(service(name, "{number: 9000, name: tcp, protocol: TCP}", address(name)))
        found.append(rule(name, f"tcp: {rules}"))
    return "".join(found) + HTTP


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outbound]:
    own = [f"outbound|9000||{name}.test" for name in (*TCP, *LISTS)]
    own += [f"outbound|9443||{name}.test" for name in TLS]
    async with outbound_envoy(
        tmp_path_factory.mktemp("envoy"),
        sidecar_proxy("default", labels={"app": "web"}),
        mesh(),
        tcp=["outbound|9000||hit.test", *own],
        http=["outbound|80||hit.test", "outbound|80||two.test"],
    ) as started:
        yield started


@pytest.mark.parametrize("name", [*TCP, *TLS])
async def test_matches_of_connections(site: Outbound, name: str) -> None:
    row = TCP.get(name) or TLS[name]
    port = 9000 if name in TCP else 9443
    found = await site.tcp(f"{address(name)}:{port}", sni=row.sni.replace("SELF", f"{name}.test"))
    own = f"outbound|{port}||{name}.test"
    assert found == {HIT: "outbound|9000||hit.test", "own": own, "": ""}[row.expected]


@pytest.mark.parametrize("name", LISTS)
async def test_rules_of_connections(site: Outbound, name: str) -> None:
    assert await site.tcp(f"{address(name)}:9000") == "outbound|9000||hit.test"


@pytest.mark.parametrize(
    ("path", "host", "server"),
    [
        ("/labels", "callers.test", HIT),
        ("/other-labels", "callers.test", "two"),
        ("/namespace", "callers.test", HIT),
        ("/other-namespace", "callers.test", "two"),
        ("/mesh", "callers.test", HIT),
        ("/gateway", "callers.test", "two"),
        ("/port", "callers.test", HIT),
        ("/other-port", "callers.test", "two"),
        ("/authority", "a.wild.test", HIT),
        ("/authority", "b.wild.test", "two"),
        ("/late", "callers.test", "two"),
    ],
)
async def test_matches_of_requests(site: Outbound, path: str, host: str, server: str) -> None:
    """What a rule says of its callers; and a rule without match ends all (checklist 14)."""
    assert await site.http("198.51.100.9:80", host, path) == (200, f"outbound|80||{server}.test")


@pytest.mark.parametrize(
    ("path", "user", "expected"),
    [
        pytest.param("/api/v1/x", "ada", (HIT, "/api/v1/x", "yes"), id="both-match"),
        pytest.param("/api/v1/x", "", None, id="root-does-not-match"),
        pytest.param("/api/exact", "ada", ("two", "/seen", "yes"), id="actions-of-the-delegate"),
        pytest.param("/elsewhere", "ada", None, id="path-beyond-the-root"),
        pytest.param("/api/x", "bob", None, id="contradicting-header"),
        pytest.param("/gone", "", ("two", "/gone", ""), id="missing-delegate"),
        pytest.param("/direct", "", (HIT, "/direct", ""), id="no-delegate"),
    ],
)
async def test_delegates(
    site: Outbound, path: str, user: str, expected: tuple[str, str, str] | None
) -> None:
    """Matches of root and delegate count together, header operations of both (pilot.md F5)."""
    headers = {"x-user": user} if user else {}
    reply = await site.fetch("198.51.100.9:80", "root.test", path, headers=headers)
    if expected is None:
        assert reply.status == 404
    else:
        server, seen, mark = expected
        assert reply.header("x-upstream") == f"outbound|80||{server}.test"
        assert (reply.echo.path, reply.echo.header("x-root")) == (seen, mark)


async def test_a_missing_delegate_is_reported() -> None:
    found = [each for each in reviewed(world(HTTP)) if "nobody" in each.message]
    assert [each.subject.name for each in found if each.subject] == ["root"]
