"""The names that agents answer (pilot.md D10)."""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.world.name_table import name_table
from tests.support.mesh_yaml import scope, sidecar_proxy

PROXY = sidecar_proxy("shop", CLUSTER_ID="east", NETWORK="n")
DUAL = sidecar_proxy("shop", INSTANCE_IPS="10.0.0.1,fd00::1", CLUSTER_ID="east", NETWORK="n")


def table(*texts: str, proxy: Proxy = PROXY) -> dict[str, Any]:
    found = MessageToDict(name_table(scope(proxy, *texts), proxy))
    rows: dict[str, Any] = found.get("table", {})
    return rows


def entry(host: str, more: str = "") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: e, namespace: shop}}\n"
        f"spec: {{hosts: ['{host}'], ports: [{{number: 80, name: http}}]{more}}}\n---\n"
    )


def registry(host: str, more: str = "") -> str:
    return (
        "apiVersion: registry.mast/v1\nkind: Service\nmetadata: {name: s}\n"
        f"spec: {{host: {host}, namespace: shop, registry: Kubernetes, "
        f"ports: [{{name: tcp, number: 80, protocol: TCP}}]{more}}}\n---\n"
    )


HOST = "a.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("text", "proxy", "expected"),
    [
        pytest.param(
            registry(HOST, ", addresses: [10.96.0.1, 'fd00::2']"),
            PROXY,
            {
                HOST: {
                    "ips": ["10.96.0.1"],
                    "registry": "Kubernetes",
                    "shortname": "a",
                    "namespace": "shop",
                }
            },
            id="own-family",
        ),
        pytest.param(
            registry(HOST, ", addresses: [10.96.0.1, 'fd00::2']"),
            DUAL,
            {
                HOST: {
                    "ips": ["10.96.0.1", "fd00::2"],
                    "registry": "Kubernetes",
                    "shortname": "a",
                    "namespace": "shop",
                }
            },
            id="both-families",
        ),
        pytest.param(
            entry("api.test", ", addresses: [192.0.2.0/24, 192.0.2.1]"),
            PROXY,
            {"api.test": {"ips": ["192.0.2.1"], "registry": "External"}},
            id="no-ranges",
        ),
        pytest.param(
            entry(HOST, ", resolution: STATIC"),
            PROXY,
            {
                HOST: {
                    "ips": ["240.240.65.217"],
                    "registry": "External",
                    "shortname": "a",
                    "namespace": "shop",
                }
            },
            id="automatic-address-and-short-name",
        ),
        pytest.param(entry("api.test", ", resolution: NONE"), PROXY, {}, id="no-address"),
    ],
)
def test_services(text: str, proxy: Proxy, expected: dict[str, Any]) -> None:
    assert table(text, proxy=proxy) == expected


def test_aliases_have_the_addresses_of_their_target() -> None:
    alias = registry(
        "b.shop.svc.cluster.local", ", resolution: RESOLUTION_ALIAS, alias_of: " + HOST
    )
    found = table(registry(HOST, ", addresses: [10.96.0.1]"), alias)
    assert found["b.shop.svc.cluster.local"]["ips"] == ["10.96.0.1"]
    assert found["b.shop.svc.cluster.local"]["shortname"] == "b"


SHARD = f"""
apiVersion: registry.mast/v1
kind: EndpointShard
metadata: {{name: s}}
spec:
  host: {HOST}
  namespace: shop
  shard: east
  endpoints:
  - address: 10.0.0.2
    ports: {{tcp: 80}}
    labels: {{statefulset.kubernetes.io/pod-name: a-1}}
  - {{address: 10.0.0.1, ports: {{tcp: 80}}, labels: {{statefulset.kubernetes.io/pod-name: a-0}}}}
  - {{address: 10.0.0.3, ports: {{tcp: 80}}, health: HEALTH_UNHEALTHY}}
  - {{address: 10.0.0.4, ports: {{tcp: 80}}, network: elsewhere}}
  - {{address: 10.0.0.5, ports: {{tcp: 80}}, network: n}}
  - {{address: name.test, ports: {{tcp: 80}}}}
"""
HEADLESS = registry(HOST, ", headless: true, resolution: RESOLUTION_PASSTHROUGH")


def test_headless_services_give_ready_endpoints_nearby_and_pods() -> None:
    found = table(HEADLESS, SHARD)
    assert {host: row["ips"] for host, row in found.items()} == {
        HOST: ["10.0.0.1", "10.0.0.2", "10.0.0.5"],
        f"a-0.{HOST}": ["10.0.0.1"],
        f"a-1.{HOST}": ["10.0.0.2"],
    }
    assert found[f"a-0.{HOST}"]["shortname"] == "a-0.a"
    assert found[f"a-0.{HOST}"]["namespace"] == "shop"


def test_pods_of_other_clusters_are_not_told() -> None:
    assert table(HEADLESS, SHARD.replace("shard: east", "shard: west")) == {}


def test_headless_hosts_of_another_form_have_no_short_names() -> None:
    renamed = HEADLESS.replace(HOST, "a.test"), SHARD.replace(HOST, "a.test")
    found = table(*renamed)
    assert "shortname" not in found["a.test"]
    assert "shortname" not in found["a-0.a.test"]


def test_without_endpoints_there_is_no_entry() -> None:
    assert table(HEADLESS) == {}
