"""describe: what is told of workloads and services, out of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mast.cli.errors import CommandError
from mast.cli.main import app

MESH = Path(__file__).with_name("mesh.yaml")
MORE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: raw, namespace: shop}
spec:
  hosts: [raw.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9000, name: x}]
  workloadSelector: {labels: {app: raw}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: alone, namespace: shop}
spec: {address: 10.0.0.9, labels: {app: alone}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: raw, namespace: shop}
spec:
  host: raw.shop.svc.cluster.local
  subsets: [{name: v1, labels: {version: v1}}]
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: outside, namespace: shop}
spec:
  hosts: [shop.test]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
  - route: [{destination: {host: reviews.default.svc.cluster.local, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: raw, namespace: shop}
spec:
  hosts: [raw.shop.svc.cluster.local]
  tcp: [{route: [{destination: {host: raw.shop.svc.cluster.local, subset: v2}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: many, namespace: shop}
spec:
  hosts: [many.test]
  gateways: [front]
  http:
  - match: [{headers: {a: {exact: b}}, port: 80}, {}]
    directResponse: {status: 503}
  - match: [{uri: {exact: /d}}]
    delegate: {name: other, namespace: bank}
  - route: [{destination: {host: raw.shop.svc.cluster.local}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews-elsewhere, namespace: default}
spec: {host: reviews, subsets: [{name: v9, labels: {version: v9}}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec: {egress: [{hosts: ["./*"]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-alone, namespace: shop}
spec: {selector: {matchLabels: {app: alone}}, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: others, namespace: shop}
spec: {selector: {matchLabels: {app: others}}, rules: [{}]}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    more = tmp_path_factory.mktemp("mesh") / "more.yaml"
    more.write_text(MORE)
    return ["-f", str(MESH), "-f", str(more), "--no-validate"]


def described(files: list[str], *arguments: str) -> str:
    ended = CliRunner().invoke(app, ["describe", *arguments, *files])
    if isinstance(ended.exception, CommandError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_a_workload(files: list[str]) -> None:
    assert described(files, "pod", "reviews-v1") == (
        "Workload: reviews-v1.default\n"
        "   Identity: spiffe://cluster.local/ns/default/sa/reviews\n"
        "   Addresses: 10.0.0.5\n"
        "   Labels: app=reviews,version=v1\n"
        "--------------------\n"
        "Service: reviews.default.svc.cluster.local\n"
        "   Port: http 9080/HTTP targets port 9080, mutual TLS STRICT\n"
        f"DestinationRule: default/reviews for 'reviews' ({MESH}:27)\n"
        "   Matching subsets: v1\n"
        "   (Non-matching subsets v2)\n"
        "   No traffic policy\n"
        f"DestinationRule: default/reviews-elsewhere for 'reviews' ({files[3]}:56)\n"
        "   (Non-matching subsets v9)\n"
        "   No traffic policy\n"
        "   WARNING: the workload is in none of the subsets\n"
        f"VirtualService: default/reviews ({MESH}:34)\n"
        "   http[0]: headers end-user exact jason -> reviews.default.svc.cluster.local subset v2"
        " (fault)\n"
        "   http[1]: everything -> reviews.default.svc.cluster.local subset v1 90%,"
        " reviews.default.svc.cluster.local subset v2 10% (timeout)\n"
        f"Exposed by VirtualService: shop/outside ({files[3]}:25)\n"
        "   Gateways: front\n"
        "   Hosts: shop.test\n"
        "   http[0]: uri prefix /old -> redirect\n"
        "   http[1]: everything -> reviews.default.svc.cluster.local subset v1\n"
        "--------------------\n"
        f"PeerAuthentication: default/strict ({MESH}:46)\n"
    )


def test_a_workload_without_a_service(files: list[str]) -> None:
    told = described(files, "po", "alone.shop")
    assert "WARNING: no service leads to this workload" in told
    assert "Sidecar: shop/narrow" in told
    assert "AuthorizationPolicy: shop/only-alone" in told
    assert "others" not in told


def test_a_service_with_what_is_odd_about_it(files: list[str]) -> None:
    (parts,) = json.loads(described(files, "svc", "raw", "-n", "shop", "-o", "json"))
    service, rule, routes, exposed = parts
    assert service["lines"] == ["Port: x 9000/sniffed targets port 9000", "Endpoints: 0, 0 healthy"]
    assert service["warnings"] == [
        "port 9000 does not say its protocol: it is found out by its bytes",
        "there are no endpoints",
    ]
    assert service["object"]["kind"] == "ServiceEntry"
    assert rule["lines"] == ["Subsets: v1", "Traffic policy: connectionPool"]
    assert "warnings" not in rule
    assert routes["warnings"] == ["no DestinationRule has the subset v2"]
    assert routes["lines"] == ["tcp[0]: -> raw.shop.svc.cluster.local subset v2"]
    assert exposed["title"] == "Exposed by VirtualService: shop/many"
    assert exposed["lines"] == [
        "Gateways: front",
        "Hosts: many.test",
        "http[0]: headers a exact b and port 80 or everything -> status 503",
        "http[1]: uri exact /d -> delegate bank/other",
        "http[2]: everything -> raw.shop.svc.cluster.local",
    ]


KUBERNETES = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.5
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: to-web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
"""


def test_manifests_of_a_cluster(tmp_path: Path) -> None:
    """Routes of Gateway API are told with what they were made from."""
    (tmp_path / "cluster.yaml").write_text(KUBERNETES)
    told = described(["-f", str(tmp_path)], "service", "web.shop")
    assert "   Port: http 80/HTTP targets port 8080\n   Endpoints: 1, 1 healthy\n" in told
    made = told.partition("VirtualService: ")[2].splitlines()
    assert [line.strip() for line in made[1:]] == [
        "Made from: HTTPRoute/to-web.shop",
        "http[0]: uri prefix / -> web.shop.svc.cluster.local",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["service", "nothing"], "no service 'nothing'"),
        (["pod", "nobody"], "workload 'nobody' is in none of the files"),
    ],
)
def test_what_is_not_there(files: list[str], arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        described(files, *arguments)


def test_experimental_is_where_istio_has_it() -> None:
    told = CliRunner().invoke(app, ["x", "--help"]).stdout
    for name in ("describe", "check-inject", "precheck", "wait", "authz", "workload", "tag"):
        assert f"\n  {name} " in told
    assert CliRunner().invoke(app, ["experimental", "authz", "check", "--help"]).exit_code == 0
