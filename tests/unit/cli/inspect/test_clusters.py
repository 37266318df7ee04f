"""Columns of clusters and endpoints, and their filters."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster

from mast.cli.inspect.clusters import Named, cluster_type, clusters, endpoints
from mast.cli.inspect.dump import read
from mast.pilot.core.packing import packed
from tests.support.envoy_dumps import configuration, dump_of, hosts_of

HOST = "reviews.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        pytest.param("outbound|80|v1|a.test", ("a.test", "80", "v1", "outbound"), id="outbound"),
        pytest.param("inbound|80||", ("", "80", "-", "inbound"), id="inbound"),
        pytest.param("outbound_.80_._.a.test", ("a.test", "80", "-", "outbound"), id="sni"),
        pytest.param("BlackHoleCluster", ("BlackHoleCluster", "-", "-", "-"), id="fixed"),
    ],
)
def test_named(name: str, parts: tuple[str, ...]) -> None:
    named = Named.parse(name)
    assert (named.host, named.port, named.subset, named.direction) == parts


def test_cluster_rows() -> None:
    assert clusters(read(dump_of(configuration()))).rows == [
        ["", "9080", "-", "inbound", "ORIGINAL_DST", ""],
        ["BlackHoleCluster", "-", "-", "-", "STATIC", ""],
        ["InboundPassthroughCluster", "-", "-", "-", "ORIGINAL_DST", ""],
        ["PassthroughCluster", "-", "-", "-", "ORIGINAL_DST", ""],
        [HOST, "9080", "-", "outbound", "EDS", "reviews.default"],
        [HOST, "9080", "v1", "outbound", "EDS", "reviews.default"],
        [HOST, "9080", "v2", "outbound", "EDS", "reviews.default"],
    ]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        pytest.param({"fqdn": HOST}, 3, id="fqdn"),
        pytest.param({"subset": "v1"}, 1, id="subset"),
        pytest.param({"direction": "INBOUND"}, 1, id="direction"),
        pytest.param({"port": 9080}, 4, id="port"),
        pytest.param({"port": 80}, 0, id="none"),
    ],
)
def test_cluster_filters(wanted: dict[str, Any], count: int) -> None:
    found = clusters(read(dump_of(configuration())), **wanted)
    assert len(found.rows) == len(found.data) == count


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        pytest.param(Cluster(type=Cluster.EDS), "EDS", id="eds"),
        pytest.param(
            Cluster(cluster_type={"name": "d", "typed_config": packed(DnsCluster())}),
            "STRICT_DNS",
            id="dns",
        ),
        pytest.param(
            Cluster(
                cluster_type={
                    "name": "d",
                    "typed_config": packed(DnsCluster(all_addresses_in_single_endpoint=True)),
                }
            ),
            "LOGICAL_DNS",
            id="logical-dns",
        ),
        pytest.param(
            Cluster(cluster_type={"name": "envoy.clusters.dynamic_forward_proxy"}),
            "DYNAMIC_FORWARD_PROXY",
            id="other",
        ),
    ],
)
def test_cluster_type(cluster: Cluster, expected: str) -> None:
    assert cluster_type(cluster) == expected


def test_endpoints_as_the_proxy_sees_them() -> None:
    found = configuration()
    dump = read(dump_of(found), hosts_of(found, failed="10.0.0.6"))
    assert endpoints(dump, cluster=f"outbound|9080||{HOST}").rows == [
        ["10.0.0.5:9080", "HEALTHY", "OK", f"outbound|9080||{HOST}"],
        ["10.0.0.6:9080", "HEALTHY", "FAILED", f"outbound|9080||{HOST}"],
    ]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        pytest.param({}, 4, id="all"),
        pytest.param({"address": "10.0.0.5"}, 2, id="address"),
        pytest.param({"port": 9080, "status": "healthy"}, 4, id="port-and-status"),
        pytest.param({"status": "unhealthy"}, 0, id="status"),
    ],
)
def test_endpoints_as_they_were_told(wanted: dict[str, Any], count: int) -> None:
    found = endpoints(read(dump_of(configuration())), **wanted)
    assert len(found.rows) == len(found.data) == count
    assert all(row[2] == "-" for row in found.rows)
