"""mastctl authz check: policies of a proxy, verdicts on requests, wrong usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from mast.cli.errors import CommandError
from mast.cli.main import app
from tests.support.envoy_dumps import NODE, configuration, dump_of

MESH = Path(__file__).with_name("mesh.yaml")
POLICIES = """
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: no-admin},
 spec: {action: DENY, rules: [
   {to: [{operation: {paths: ["/admin*"]}}],
    from: [{source: {notPrincipals: [cluster.local/ns/ops/sa/root]}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,
 metadata: {name: readers, namespace: istio-system},
 spec: {rules: [
   {from: [{source: {principals: [cluster.local/ns/default/sa/pp]}}],
    to: [{operation: {methods: [GET]}}]},
   {from: [{source: {requestPrincipals: ["us/*"]}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,
 metadata: {name: tried, annotations: {istio.io/dry-run: "true"}},
 spec: {action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: tokens},
 spec: {jwtRules: [{issuer: us, jwks: '{"keys": [{"kty": "oct", "k": "eA"}]}'}]}}
"""
PP = ("--source-principal", "cluster.local/ns/default/sa/pp")
US = ("--jwt-claims", '{"iss": "us", "sub": "eve"}')


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("policies") / "policies.yaml"
    file.write_text(POLICIES)
    return file


def run(*arguments: str) -> Result:
    ended = CliRunner().invoke(app, ["authz", "check", *arguments])
    if isinstance(ended.exception, CommandError):
        raise ended.exception
    assert ended.exit_code in {0, 1}, ended.output
    return ended


def offline(policies: Path, *arguments: str) -> Result:
    return run("reviews-v1", "-f", str(MESH), "-f", str(policies), *arguments)


def test_the_policies_of_a_running_proxy(tmp_path: Path) -> None:
    file = tmp_path / "dump.json"
    file.write_text(dump_of(configuration(NODE, POLICIES)))
    lines = run("--file", str(file)).stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["ACTION", "AuthorizationPolicy", "RULES"],
        ["DENY", "mast-ambiguous-host", "1"],
        ["DENY", "mast-ambiguous-path", "1"],
        ["DENY", "no-admin.default", "1"],
        ["DENY", "(dry", "run)", "tried.default", "1"],
        ["ALLOW", "readers.istio-system", "2"],
    ]
    data = json.loads(run("--file", str(file), "-o", "json").stdout)
    assert {"action": "ALLOW", "policy": "readers.istio-system", "rules": 2} in data


def test_the_same_from_files(policies: Path, tmp_path: Path) -> None:
    file = tmp_path / "dump.json"
    file.write_text(dump_of(configuration(NODE, POLICIES)))
    assert offline(policies).stdout == run("--file", str(file)).stdout


def test_rules_that_nothing_matches(tmp_path: Path) -> None:
    nothing = """
{apiVersion: rbac.istio.io/v1alpha1, kind: ClusterRbacConfig, metadata: {name: default},
 spec: {mode: "ON"}}
"""
    (tmp_path / "nothing.yaml").write_text(nothing)
    table = run("reviews-v1", "-f", str(MESH), "-f", str(tmp_path)).stdout
    assert "ALLOW    _anonymous_match_nothing_   0" in table


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param(
            PP,
            0,
            "allowed\n<- AuthorizationPolicy istio-system/readers spec.rules[0]",
            id="allowed",
        ),
        pytest.param(
            (*PP, "--path", "/admin"),
            1,
            "access: DENY: refused with 403: default/no-admin rule 0 matches\n"
            "<- AuthorizationPolicy default/no-admin spec.rules[0]",
            id="denied",
        ),
        pytest.param(
            (*PP, "--method", "PUT"),
            1,
            "access: ALLOW: refused with 403: no rule matches\n",
            id="not-allowed",
        ),
        pytest.param(
            (*PP, "--method", "PUT"),
            1,
            "ALLOW            istio-system/readers rule 0   method is PUT, not GET\n",
            id="why-not",
        ),
        pytest.param((*PP, "--method", "PUT", *US), 0, "readers spec.rules[1]", id="by-the-token"),
        pytest.param(
            (*PP, "--jwt-claims", '{"iss": "them"}'),
            1,
            "token: refused with 401: the issuer is them, not us\n",
            id="bad-token",
        ),
        pytest.param(
            (*PP, "--method", "POST", *US),
            0,
            "DENY (dry run)   default/tried rule 0          matches\n",
            id="dry-run",
        ),
        pytest.param(
            ("--method", "GET"),
            1,
            "chain: closed: no filter chain takes this\n<- PeerAuthentication default/strict",
            id="mutual-tls",
        ),
        pytest.param(
            (*PP, "--tcp", "--port", "7000"),
            1,
            "access: DENY: refused with 403: default/no-admin rule 0 matches\n",
            id="bytes",
        ),
        pytest.param(
            (*PP, "--host", "a,b"),
            1,
            "access: DENY: refused with 403: mast-ambiguous-host matches\n",
            id="ambiguous",
        ),
        pytest.param(
            (*PP, "-H", "x: y", "--source-ip", "::1", "--sni", "a"), 0, "allowed", id="all"
        ),
    ],
)
def test_verdicts(policies: Path, arguments: tuple[str, ...], status: int, words: str) -> None:
    ended = offline(policies, *arguments)
    assert words in ended.stdout, ended.stdout
    assert ended.exit_code == status


def test_a_workload_that_nobody_guards() -> None:
    ended = run("reviews-v1", "-f", str(MESH), "--path", "/", *PP)
    assert ended.stdout == "allowed: no policy guards it\n"


def test_programs_read_data(policies: Path) -> None:
    found: dict[str, Any] = yaml.safe_load(
        offline(policies, *PP, "--path", "/admin", "-o", "yaml").stdout
    )
    assert (found["allowed"], found["status"]) == (False, 403)
    rule = "ns[default]-policy[no-admin]-rule[0]"
    cause = {
        "kind": "AuthorizationPolicy",
        "namespace": "default",
        "name": "no-admin",
        "field": "spec.rules[0]",
        "where": f"{policies}:4",
    }
    decided = {
        "action": "DENY",
        "rule": rule,
        "matches": True,
        "lacking": "",
        "enforced": True,
        "cause": cause,
    }
    assert found["decided"] == decided
    assert found["rules"][-1] == decided
    assert [each["step"] for each in found["steps"]][-1] == "access"
    ambiguous = offline(policies, *PP, "--host", "a,b", "-o", "json").stdout
    assert json.loads(ambiguous)["decided"]["cause"] is None


def test_what_a_running_proxy_says(tmp_path: Path) -> None:
    """A saved dump is judged without knowing anything of its mesh."""
    file = tmp_path / "dump.json"
    file.write_text(dump_of(configuration(NODE, POLICIES)))
    ended = run("--file", str(file), *PP, "--path", "/admin")
    assert "<- AuthorizationPolicy default/no-admin spec.rules[0]\n" in ended.stdout
    assert ended.exit_code == 1


def test_gateways_are_asked_too(tmp_path: Path) -> None:
    gateway = """
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: edge},
 spec: {address: 10.0.0.20, labels: {istio: ingress}}}
---
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: front},
 spec: {selector: {istio: ingress}, servers: [
   {port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: front},
 spec: {hosts: ["*"], gateways: [front], http: [{route: [{destination: {host: reviews}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: edge},
 spec: {selector: {matchLabels: {istio: ingress}}, action: DENY, rules: [
   {from: [{source: {ipBlocks: [198.51.100.0/24]}}]}]}}
"""
    (tmp_path / "gateway.yaml").write_text(gateway)
    at = ("edge", "-f", str(MESH), "-f", str(tmp_path), "--port", "8080")
    assert run(*at, "--source-ip", "198.51.100.7").exit_code == 1
    ended = run(*at, "--source-ip", "203.0.113.7")
    assert ended.exit_code == 0
    assert ended.stdout.startswith("allowed\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--path", "/"], "name a workload", id="nobody"),
        pytest.param(["-f", str(MESH)], "name a workload in the files", id="no-workload"),
        pytest.param(["x", "-f", str(MESH)], "in none of the files", id="unknown"),
        pytest.param(
            ["productpage", "-f", str(MESH), "--path", "/"],
            "which --port? The workload serves none",
            id="port",
        ),
        pytest.param(
            ["reviews-v1", "-f", str(MESH), "--source-ip", "x"], "no IP address", id="address"
        ),
        pytest.param(["reviews-v1", "-f", str(MESH), "-H", "x"], "NAME: VALUE", id="header"),
        pytest.param(["reviews-v1", "-f", str(MESH), "--jwt-claims", "["], "not JSON", id="claims"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    assert words in str(caught.value)
    assert caught.value.status == 2


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    strange = """
{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: strange},
 spec: {configPatches: [{applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND,
   listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}},
   patch: {operation: INSERT_FIRST, value: {name: envoy.filters.http.rbac, typed_config: {
     "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {policies: {
       odd: {permissions: [{any: true}], principals: [{filter_state: {key: a,
         string_match: {exact: b}}}]}}}}}}}]}}
"""
    (tmp_path / "strange.yaml").write_text(strange)
    with pytest.raises(CommandError, match="its outcome cannot be told"):
        run("reviews-v1", "-f", str(MESH), "-f", str(tmp_path), "--path", "/", *PP)


def test_a_proxy_that_is_none_of_the_mesh(tmp_path: Path) -> None:
    has = configuration(NODE, POLICIES)
    has.node.id = "test"
    file = tmp_path / "dump.json"
    file.write_text(dump_of(has))
    assert "no-admin.default" in run("--file", str(file)).stdout
    with pytest.raises(CommandError, match="no proxy of the mesh"):
        run("--file", str(file), "--path", "/")


def test_whom_an_external_authorizer_would_be_asked_about(tmp_path: Path) -> None:
    custom = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system}, spec: {extensionProviders: [
   {name: sessions,
    envoyExtAuthzHttp: {service: reviews.default.svc.cluster.local, port: 9080}}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: ask},
 spec: {action: CUSTOM, provider: {name: sessions},
        rules: [{to: [{operation: {paths: ["/session*"]}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: lost},
 spec: {action: CUSTOM, provider: {name: nobody},
        rules: [{to: [{operation: {paths: ["/lost*"]}}]}]}}
"""
    (tmp_path / "custom.yaml").write_text(custom)
    at = ("reviews-v1", "-f", str(MESH), "-f", str(tmp_path), *PP)
    cluster = "outbound|9080||reviews.default.svc.cluster.local"
    assert run(*at, "--path", "/").stdout.startswith("allowed\n")
    asked = run(*at, "--path", "/session/1").stdout
    assert asked.startswith(f"allowed, unless {cluster} refuses\n")
    assert "CUSTOM   default/ask rule 0    matches\n" in asked
    data = json.loads(run(*at, "--path", "/session/1", "-o", "json").stdout)
    assert data["authorizers"] == [cluster]
    lost = run(*at, "--path", "/lost")
    assert lost.exit_code == 1
    assert "<- AuthorizationPolicy default/lost spec.rules[0]" in lost.stdout
