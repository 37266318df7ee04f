"""Names on the wire (pilot.md C)."""

import pytest

from mast.pilot.core import names
from mast.pilot.core.model.model import ConfigMeta

TABLE = {
    "outbound-cluster": (names.outbound_cluster(80, "v1", "a.test"), "outbound|80|v1|a.test"),
    "inbound-cluster": (names.inbound_cluster(8080), "inbound|8080||"),
    "sni": (names.sni(80, "", "a.test"), "outbound_.80_._.a.test"),
    "listener": (names.listener("0.0.0.0", 80), "0.0.0.0_80"),  # noqa: S104
    "inbound-chain": (names.inbound_chain(8080), "0.0.0.0_8080"),
    "virtual-host": (names.virtual_host("a.test", 80), "a.test:80"),
    "inbound-virtual-host": (names.inbound_virtual_host(80), "inbound|http|80"),
    "gateway-http": (names.gateway_http_route(80), "http.80"),
    "gateway-http-bound": (names.gateway_http_route(80, "10.0.0.1"), "http.80.10.0.0.1"),
    "gateway-https": (names.gateway_https_route(443, "tls", "gw", "web"), "https.443.tls.gw.web"),
    "gateway-https-bound": (
        names.gateway_https_route(443, "tls", "gw", "web", "::"),
        "https.443.tls.gw.web.::",
    ),
    "gateway-without-routes": (names.gateway_black_hole(80), "blackhole:80"),
    "stat-prefix": (names.stat_prefix("outbound", "0.0.0.0", 80), "outbound_0.0.0.0_80;"),  # noqa: S104
    "identity": (names.spiffe("td", "ns", "sa"), "spiffe://td/ns/ns/sa/sa"),
    "file-certificate": (names.file_certificate("/c", "/k"), "file-cert:/c~/k"),
    "file-roots": (names.file_roots("/r"), "file-root:/r"),
    "credential": (names.kubernetes_credential("web"), "kubernetes://web"),
    "complete-credential": (names.kubernetes_credential("sds://web"), "sds://web"),
}


@pytest.mark.parametrize(("made", "expected"), TABLE.values(), ids=TABLE)
def test_name(made: str, expected: str) -> None:
    assert made == expected


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        pytest.param("outbound|80|v1|a.test", (80, "v1", "a.test"), id="cluster"),
        pytest.param("outbound|80||a|b", (80, "", "a|b"), id="bar-in-host"),
        pytest.param("outbound_.80_._.a_.b.test", (80, "", "a_.b.test"), id="sni"),
        pytest.param("inbound|80||", None, id="inbound"),
        pytest.param("outbound|http||a.test", None, id="no-number"),
        pytest.param("PassthroughCluster", None, id="fixed"),
        pytest.param("outbound|80|a.test", None, id="too-short"),
    ],
)
def test_parse_outbound_cluster(name: str, parts: tuple[int, str, str] | None) -> None:
    assert names.parse_outbound_cluster(name) == parts


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("", "outbound|80|v1|a.shop.svc.cluster.local;", id="cluster-name"),
        pytest.param("%SERVICE%", "a.shop;", id="short"),
        pytest.param(
            "%SERVICE_FQDN%_%SERVICE_PORT%_%SUBSET_NAME%",
            "a.shop.svc.cluster.local_80_v1;",
            id="several",
        ),
        pytest.param("%SERVICE_PORT_NAME%-%TARGET_PORT%", "http-8080;", id="ports"),
        pytest.param("constant", "constant;", id="no-placeholder"),
    ],
)
def test_alt_stat_name(template: str, expected: str) -> None:
    made = names.alt_stat_name(
        template,
        cluster="outbound|80|v1|a.shop.svc.cluster.local",
        host="a.shop.svc.cluster.local",
        service="a.shop",
        port=80,
        port_name="http",
        subset="v1",
        target_port=8080,
    )
    assert made == expected


def test_config_reference() -> None:
    meta = ConfigMeta(
        collection="istio/networking/v1alpha3/destinationrules",
        group="networking.istio.io",
        api_version="v1",
        kind="DestinationRule",
        namespace="shop",
        name="a",
    )
    assert (
        names.config_reference(meta)
        == "/apis/networking.istio.io/v1/namespaces/shop/destination-rule/a"
    )
