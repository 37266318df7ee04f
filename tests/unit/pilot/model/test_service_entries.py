"""Services and workloads out of ServiceEntries, WorkloadEntries and registry messages (D)."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from mast.pilot.core.model import service_entries
from mast.pilot.core.model.model import (
    PUBLIC,
    Config,
    ConfigMeta,
    Health,
    Protocol,
    Resolution,
    Visibility,
)
from mast.pilot.core.model.proxy import Locality
from mast.pilot.core.model.service_entries import Contribution
from mastapi.registry.v1 import registry_pb2 as registry

META = ConfigMeta(
    collection="c",
    group="g",
    api_version="v1",
    kind="K",
    namespace="shop",
    name="entry",
    created=9,
    labels={"team": "x"},
)
BASE = {"hosts": ["a.test"], "resolution": "STATIC", "ports": [{"number": 80, "name": "http"}]}


def entry(**fields: Any) -> Contribution:
    (found,) = contributions(**fields)
    return found


def contributions(**fields: Any) -> tuple[Contribution, ...]:
    spec = ParseDict({**BASE, **fields}, ServiceEntry())
    return service_entries.from_service_entry(Config(META, spec), ["*"])


@pytest.mark.parametrize(
    ("name", "port", "expected"),
    [
        ("http", 80, Protocol.HTTP),
        ("HTTP2", 80, Protocol.HTTP2),
        ("grpc-web", 80, Protocol.GRPC_WEB),
        ("GRPC_WEB", 80, Protocol.GRPC_WEB),
        ("", 80, Protocol.AUTO),
        ("unheard-of", 80, Protocol.AUTO),
        ("", 3306, Protocol.TCP),
        ("unheard-of", 25, Protocol.TCP),
        ("mysql", 3306, Protocol.MYSQL),
        ("http", 53, Protocol.HTTP),
    ],
)
def test_protocol(name: str, port: int, expected: Protocol) -> None:
    assert service_entries.protocol(name, port) is expected


def test_one_service_for_each_host() -> None:
    found = contributions(hosts=["a.test", "b.test", "a.test"])
    assert [each.service.host for each in found] == ["a.test", "b.test"]


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        ("NONE", Resolution.PASSTHROUGH),
        ("STATIC", Resolution.STATIC),
        ("DNS", Resolution.DNS),
        ("DNS_ROUND_ROBIN", Resolution.DNS_ROUND_ROBIN),
        ("DYNAMIC_DNS", Resolution.DYNAMIC_DNS),
    ],
)
def test_resolution(resolution: str, expected: Resolution) -> None:
    assert entry(resolution=resolution).service.resolution is expected


def test_an_unknown_resolution_is_refused() -> None:
    spec = ServiceEntry(hosts=["a.test"], resolution=99)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="resolution: value 99 is unknown, allowed are"):
        service_entries.from_service_entry(Config(META, spec), ["*"])


def test_service_of_an_entry() -> None:
    service = entry(
        hosts=["a.shop.svc.cluster.local"],
        location="MESH_INTERNAL",
        ports=[{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}],
        addresses=["192.0.2.1", "192.0.2.0/24", "0.0.0.0", "nonsense", "192.0.2.1/32"],  # noqa: S104
        subjectAltNames=["spiffe://x"],
        exportTo=["."],
    ).service
    assert service.name == "a"
    assert service.origin == "entry"
    assert service.age == (9, "entry", "shop")
    assert not service.external
    assert service.addresses == ("192.0.2.1", "192.0.2.0/24")
    assert service.subject_alt_names == ("spiffe://x",)
    assert service.visible_to == Visibility(False, frozenset({"shop"}))
    assert service.labels == {"team": "x"}
    (port,) = service.ports
    assert (port.number, port.target_port, port.protocol) == (80, 8080, Protocol.HTTP)


def test_hosts_outside_have_no_short_name_and_are_external_by_default() -> None:
    service = entry().service
    assert service.name == ""
    assert service.external
    assert service.visible_to == PUBLIC
    assert service.ports[0].target_port == 80


@pytest.mark.parametrize(
    ("fields", "labels", "expected"),
    [
        pytest.param({}, {}, True, id="static"),
        pytest.param({"resolution": "DNS"}, {}, True, id="dns"),
        pytest.param({"resolution": "NONE"}, {}, False, id="passthrough"),
        pytest.param({"addresses": ["192.0.2.1"]}, {}, False, id="has-one"),
        pytest.param({"hosts": ["192.0.2.1"]}, {}, False, id="is-one"),
        pytest.param({}, {service_entries.AUTO_ALLOCATE: "false"}, False, id="opted-out"),
    ],
)
def test_who_wants_an_automatic_address(
    fields: dict[str, Any], labels: dict[str, str], expected: bool
) -> None:
    meta = ConfigMeta(
        collection="c",
        group="g",
        api_version="v1",
        kind="K",
        namespace="shop",
        name="e",
        labels=labels,
    )
    spec = ParseDict({**BASE, **fields}, ServiceEntry())
    (found,) = service_entries.from_service_entry(Config(meta, spec), ["*"])
    assert found.wants_address is expected


def test_endpoints_of_an_entry() -> None:
    one, two, three = entry(
        ports=[{"number": 80, "name": "http", "targetPort": 8080}, {"number": 81, "name": "tcp"}],
        endpoints=[
            {"address": "10.0.0.1", "ports": {"http": 9090}, "serviceAccount": "sa"},
            {"address": "unix:///x", "labels": {"topology.istio.io/network": "n"}},
            {
                "address": "10.0.0.2",
                "serviceAccount": "sa",
                "labels": {service_entries.TLS_MODE: "disabled"},
                "locality": "eu/a/1",
                "network": "m",
                "weight": 7,
            },
        ],
    ).endpoints
    assert one.ports == {80: 9090, 81: 81}
    assert (one.mtls, one.service_account, one.weight) == (True, "sa", 1)
    assert two.ports == {80: 0, 81: 0}
    assert (two.mtls, two.network) == (False, "n")
    assert not three.mtls
    assert (three.locality, three.network, three.weight) == (Locality("eu", "a", "1"), "m", 7)


@pytest.mark.parametrize(
    ("fields", "addresses"),
    [
        pytest.param({"resolution": "DNS"}, ["a.test"], id="the-host-itself"),
        pytest.param({"resolution": "DNS", "endpoints": [{"address": "b"}]}, ["b"], id="given"),
        pytest.param({"resolution": "DNS", "hosts": ["*.test"]}, [], id="wildcard"),
        pytest.param({"resolution": "STATIC"}, [], id="static"),
        pytest.param({"resolution": "DNS", "workloadSelector": {}}, [], id="selector"),
    ],
)
def test_names_without_endpoints_resolve_themselves(
    fields: dict[str, Any], addresses: list[str]
) -> None:
    assert [each.address for each in entry(**fields).endpoints] == addresses


def test_workload_selector() -> None:
    selecting = entry(workloadSelector={"labels": {"app": "x"}})
    assert selecting.selector == {"app": "x"}
    assert selecting.selects_platform
    assert entry().selector is None


def test_registry_service() -> None:
    message = registry.Service(
        host="a.shop.svc.cluster.local",
        namespace="shop",
        name="a",
        registry="Kubernetes",
        location=registry.LOCATION_MESH_EXTERNAL,
        headless=True,
        publish_not_ready=True,
        selector={"app": "a"},
        ports=[registry.Port(name="p", number=80, protocol="GRPC")],
        annotations={service_entries.EXPORT_TO: "., web"},
        create_time=Timestamp(seconds=1, nanos=2),
    )
    found = service_entries.from_registry(message, ["*"])
    service = found.service
    assert service.from_kubernetes
    assert service.external
    assert (service.headless, service.publish_not_ready) == (True, True)
    assert service.visible_to == Visibility(False, frozenset({"shop", "web"}))
    assert service.age == (1_000_000_002, "a", "shop")
    assert service.ports[0].protocol is Protocol.GRPC
    assert found.selector == {"app": "a"}
    assert not found.selects_platform
    assert not found.wants_address


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, True, id="none"),
        pytest.param({"registry": "Kubernetes"}, False, id="platform"),
        pytest.param({"headless": True}, False, id="headless"),
        pytest.param({"addresses": ["192.0.2.1"]}, False, id="has-one"),
        pytest.param({"resolution": registry.RESOLUTION_ALIAS}, False, id="alias"),
        pytest.param({"resolution": registry.RESOLUTION_PASSTHROUGH}, False, id="passthrough"),
    ],
)
def test_registry_services_that_wait_for_an_address(fields: Any, expected: bool) -> None:
    message = registry.Service(host="a.test", namespace="shop", **fields)
    assert service_entries.from_registry(message, ["*"]).wants_address is expected


def test_registry_export_to_beats_the_annotation() -> None:
    message = registry.Service(export_to=["*"], annotations={service_entries.EXPORT_TO: "."})
    assert service_entries.from_registry(message, ["."]).service.visible_to == PUBLIC


def test_annotations_name_who_may_answer() -> None:
    message = registry.Service(
        namespace="shop",
        subject_alt_names=["spiffe://td/a"],
        external_addresses=["lb.test"],
        node_local=True,
        annotations={
            service_entries.SPIFFE_IDS: "spiffe://td/b, spiffe://td/c",
            service_entries.ACCOUNTS: "d,e,",
        },
    )
    found = service_entries.from_registry(message, ["*"]).service
    assert found.subject_alt_names == ("spiffe://td/a", "spiffe://td/b", "spiffe://td/c")
    assert found.service_accounts == (("shop", "d"), ("shop", "e"))
    assert (found.external_addresses, found.node_local) == (("lb.test",), True)


def test_workload_entry() -> None:
    spec = ParseDict(
        {
            "address": "10.0.0.1",
            "labels": {"app": "x"},
            "ports": {"http": 9},
            "serviceAccount": "sa",
        },
        WorkloadEntry(),
    )
    found = service_entries.from_workload_entry("key", Config(META, spec))
    assert (found.name, found.workload_name, found.namespace) == ("entry", "entry", "shop")
    assert found.labels == {"team": "x", "app": "x"}
    assert (found.mtls, found.platform, found.ports) == (True, False, {"http": 9})
    assert found.age == (9, "entry", "shop")
    empty = service_entries.from_workload_entry("key", Config(META, WorkloadEntry()))
    assert empty.addresses == ()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (registry.HEALTH_UNSPECIFIED, Health.HEALTHY),
        (registry.HEALTH_HEALTHY, Health.HEALTHY),
        (registry.HEALTH_UNHEALTHY, Health.UNHEALTHY),
        (registry.HEALTH_DRAINING, Health.DRAINING),
        (registry.HEALTH_TERMINATING, Health.TERMINATING),
        (99, Health.UNHEALTHY),
    ],
)
def test_health(number: Any, expected: Health) -> None:
    message = registry.Workload(health=number, registration_group="g")
    found = service_entries.from_registry_workload("key", message)
    assert found.health is expected
    assert not found.platform
