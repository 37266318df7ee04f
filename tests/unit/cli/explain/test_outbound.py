"""Whole stories: what becomes of requests in a mesh of files, and what they are blamed on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mast.cli.explain.outbound import OUTSIDE, Asked, explain
from mast.cli.explain.site import Surroundings
from mast.cli.explain.story import Story
from mast.cli.offline.proxies import node
from tests.support.envoy_dumps import mesh

FROM = "sidecar~192.0.2.1~productpage.default~default.svc.cluster.local"
HOST = "reviews.default.svc.cluster.local"
MORE = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: db},
 spec: {hosts: [db.test], addresses: [10.9.0.2], resolution: STATIC,
        ports: [{number: 5432, name: tcp, protocol: TCP}], endpoints: [{address: 10.0.0.9}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: secure},
 spec: {hosts: [one.test, two.test], resolution: DNS,
        ports: [{number: 443, name: tls, protocol: TLS}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: empty},
 spec: {hosts: [empty.test], addresses: [10.9.0.3], resolution: STATIC,
        ports: [{number: 80, name: http, protocol: HTTP}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: empty},
 spec: {hosts: [empty.test], http: [
   {match: [{uri: {exact: /old}}], redirect: {uri: /new, redirectCode: 308}},
   {match: [{uri: {exact: /no}}], directResponse: {status: 403}},
   {match: [{uri: {prefix: /gone}}], route: [{destination: {host: gone.test}}]},
   {match: [{uri: {prefix: /some}}], rewrite: {uri: /other}, timeout: 2s,
    mirror: {host: reviews}, mirrorPercentage: {value: 5},
    retries: {attempts: 1, perTryTimeout: 1s, retryOn: 5xx},
    fault: {delay: {fixedDelay: 1s, percentage: {value: 1}}},
    headers: {request: {set: {a: b}, remove: [c]}, response: {add: {d: e}}},
    corsPolicy: {allowOrigins: [{exact: "https://a.test"}]},
    route: [{destination: {host: empty.test}}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: front},
 spec: {selector: {istio: ingress}, servers: [
   {port: {number: 8080, name: http, protocol: HTTP}, hosts: [shop.test]},
   {port: {number: 8443, name: https, protocol: HTTPS}, hosts: [shop.test],
    tls: {mode: SIMPLE, credentialName: shop}}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: shop},
 spec: {hosts: [shop.test], gateways: [front], http: [
   {match: [{headers: {"@request.auth.claims.group": {exact: dev}}}],
    route: [{destination: {host: reviews, subset: v2}}]},
   {route: [{destination: {host: reviews, subset: v1}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: tokens},
 spec: {selector: {matchLabels: {istio: ingress}},
        jwtRules: [{issuer: us, jwks: '{"keys": [{"kty": "oct", "k": "eA"}]}'}]}}
---
{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: patch},
 spec: {workloadSelector: {labels: {app: productpage}}, configPatches: [
   {applyTo: CLUSTER, match: {context: SIDECAR_OUTBOUND, cluster: {service: db.test}},
    patch: {operation: MERGE, value: {connect_timeout: 7s}}}]}}
"""


def story(**asked: Any) -> Story:
    around = Surroundings(mesh(MORE))
    side = around.side(next(each for each in around.mesh.nodes if each.id == FROM))
    return explain(Asked(**{"port": 80, "host": "empty.test", **asked}), side, around)


def result(found: Story, what: str) -> str:
    return next(each.result for each in found.steps if each.what == what)


def causes(found: Story) -> list[str]:
    return [str(cause) for each in found.steps for cause in each.causes]


def test_a_route_by_header_leads_into_the_proxy_of_the_subset() -> None:
    found = story(host="reviews", port=9080, headers=[("end-user", "jason")])
    assert found.status == 0
    assert found.clusters == {f"outbound|9080|v2|{HOST}": 100}
    assert result(found, "address") == f"{HOST} at 10.9.0.1"
    assert result(found, "listener").startswith("0.0.0.0_9080")
    assert result(found, "route") == "number 1 of 2: /* by header end-user"
    assert "mutual TLS with certificate default" in result(found, "towards")
    assert "reviews-v2" in result(found, "arrives at")
    assert result(found, "program") == "inbound|9080|| (ORIGINAL_DST), at 10.0.0.6:9080"
    told = causes(found)
    assert "EnvoyFilter default/patch (1.yaml:43)" in told
    assert "ServiceEntry default/reviews spec.hosts[0] (0.yaml:5)" in told
    assert "VirtualService default/reviews spec.http[0].match[0] (0.yaml:40)" in told
    assert "DestinationRule default/reviews spec.subsets[1] (0.yaml:32)" in told
    assert "PeerAuthentication default/strict spec.mtls.mode (0.yaml:49)" in told


def test_shares_of_a_split() -> None:
    found = story(host=HOST, port=9080)
    shares = {f"outbound|9080|v1|{HOST}": 90, f"outbound|9080|v2|{HOST}": 10}
    assert found.clusters == shares
    details = next(each.details for each in found.steps if each.what == "route")
    assert details == ("not number 1: header end-user is missing",)
    assert "timeout 3s" in next(e.details for e in found.steps if e.what == "action")
    assert sum(each.what == "arrives at" for each in found.steps) == 2


@pytest.mark.parametrize(
    ("asked", "status", "step", "words"),
    [
        pytest.param(
            {"path": "/old"}, 308, "action", "308 to http://empty.test/new", id="redirect"
        ),
        pytest.param({"path": "/no"}, 403, "action", "answers 403", id="direct-response"),
        pytest.param({"path": "/gone"}, 503, "cluster", "503", id="missing-cluster"),
        pytest.param({"path": "/some"}, 503, "endpoint", "503: there is none", id="no-endpoint"),
        pytest.param({"path": "/else"}, 404, "route", "404: none matches", id="no-route"),
        pytest.param({"scheme": "https", "port": 80}, 0, "tcp", "PassthroughCluster", id="tls"),
        pytest.param({"host": "nobody.test"}, 0, "routes", "allow_any", id="unknown-host"),
        pytest.param(
            {"host": "db.test", "port": 5432, "scheme": "tcp"},
            0,
            "tcp",
            "outbound|5432||db.test",
            id="tcp",
        ),
        pytest.param(
            {"host": "one.test", "port": 443, "scheme": "tls"},
            0,
            "chain",
            "SNI: one.test",
            id="server-name",
        ),
        pytest.param(
            {"host": "one.test", "port": 443, "scheme": "tls", "sni": "two.test"},
            0,
            "chain",
            "SNI: two.test",
            id="own-server-name",
        ),
        pytest.param(
            {"host": "10.1.1.1", "port": 15001, "scheme": "tcp"},
            0,
            "endpoint",
            "none: nothing gets any further",
            id="loop",
        ),
        pytest.param(
            {"host": "10.1.1.1", "port": 6000, "scheme": "tcp"},
            0,
            "endpoint",
            "10.1.1.1:6000, as it was dialled",
            id="passed-through",
        ),
    ],
)
def test_ends(asked: dict[str, Any], status: int, step: str, words: str) -> None:
    found = story(**asked)
    assert found.status == status
    assert words in result(found, step), found.text()


def test_everything_a_route_does_is_told() -> None:
    found = story(path="/some/thing")
    (action,) = (each for each in found.steps if each.what == "action")
    assert set(action.details) >= {
        "timeout 2s",
        "1 retries on 5xx, 1s each",
        "fault: 1% are delayed by 1s",
        f"5% are copied to outbound|9080||{HOST}",
        "prefix is replaced by /other",
        "request header a: b",
        "request header c is removed",
        "response header d: e",
        "answers CORS preflights",
        "as http://empty.test/other/thing",
    }


def test_patches_show_in_the_cluster() -> None:
    found = story(host="db.test", port=5432, scheme="tcp")
    (cluster,) = (each for each in found.steps if each.what == "cluster")
    assert "connect timeout 7s" in cluster.details


def test_claims_choose_routes_of_a_gateway() -> None:
    around = Surroundings(mesh(MORE))
    router = "router~10.0.0.20~front-1.default~default.svc.cluster.local"
    side = around.side(node(router, {"LABELS": {"istio": "ingress"}}))
    asked = Asked(host="shop.test", port=8080, source_address="198.51.100.1")
    known = explain(replace(asked, claims={"iss": "us", "group": "dev"}), side, around)
    assert known.clusters == {f"outbound|9080|v2|{HOST}": 100}, known.text()
    assert result(known, "token") == "passes: the token of us is good"
    assert "RequestAuthentication default/tokens (1.yaml:39)" in causes(known)
    foreign = explain(replace(asked, claims={"iss": "them", "group": "dev"}), side, around)
    assert (foreign.status, foreign.clusters) == (401, {})
    assert result(foreign, "token") == "refused with 401: the issuer is them, not us"
    assert "dialled by the client" in result(known, "listener")
    unknown = explain(asked, side, around)
    assert unknown.clusters == {f"outbound|9080|v1|{HOST}": 100}
    assert "VirtualService default/shop spec.http[1] (1.yaml:37)" in causes(unknown)


def test_a_gateway_ends_tls_by_server_name() -> None:
    around = Surroundings(mesh(MORE))
    router = "router~10.0.0.20~front-1.default~default.svc.cluster.local"
    side = around.side(node(router, {"LABELS": {"istio": "ingress"}}))
    asked = Asked(host="shop.test", port=8443, scheme="https", source_address="198.51.100.1")
    found = explain(asked, side, around)
    assert found.clusters == {f"outbound|9080|v1|{HOST}": 100}, found.text()
    assert "SNI: shop.test" in result(found, "chain")
    assert "Gateway default/front spec.servers[1] (1.yaml:30)" in causes(found)
    closed = explain(replace(asked, sni="other.test"), side, around)
    assert result(closed, "chain").startswith("closed")


def test_strict_mutual_tls_refuses_plain_text() -> None:
    plain = """
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: plain},
 spec: {host: reviews, trafficPolicy: {tls: {mode: DISABLE}},
        subsets: [{name: v1, labels: {version: v1}}]}}
"""
    around = Surroundings(mesh(plain.replace("name: plain", "name: a-plain")))
    side = around.side(node(FROM, {"LABELS": {"app": "productpage"}}))
    asked = Asked(host="reviews", port=9080)
    found = explain(asked, side, around)
    assert result(found, "towards").startswith("plain text")
    assert found.status == 503
    refused = [each for each in found.steps if each.result.startswith("closed")]
    assert "PeerAuthentication default/strict" in str(refused[0].causes[0])


def test_without_capture_programs_use_the_proxy() -> None:
    around = Surroundings(mesh(MORE))
    metadata = {
        "INTERCEPTION_MODE": "NONE",
        "HTTP_PROXY_PORT": "15080",
        "OUTBOUND_BIND": "127.9.0.1",
    }
    side = around.side(node(FROM, metadata))
    found = explain(Asked(host="reviews", port=9080), side, around)
    assert result(found, "listener") == "127.9.0.1_15080 at 127.9.0.1:15080, used as HTTP proxy"
    assert found.clusters
    direct = explain(Asked(host="db.test", port=5432, scheme="tcp"), side, around)
    assert direct.clusters == {"outbound|5432||db.test": 100}
    nobody = explain(Asked(host="db.test", port=1, scheme="tcp"), side, around)
    assert "refused" in result(nobody, "listener")


def test_names_that_only_dns_knows() -> None:
    found = story(host="nobody.test", port=80)
    (step,) = (each for each in found.steps if each.what == "address")
    assert OUTSIDE in step.details[0]


def test_the_same_as_data() -> None:
    data = story(host="reviews", port=9080).data()
    assert data["clusters"][0] == {"name": f"outbound|9080|v1|{HOST}", "percent": 90}
    (route,) = (each for each in data["steps"] if each["step"] == "route" and each["causes"])
    assert route["causes"] == [
        {
            "kind": "VirtualService",
            "namespace": "default",
            "name": "reviews",
            "field": "spec.http[1]",
            "where": "0.yaml:43",
        }
    ]
