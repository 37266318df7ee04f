"""Mixer's filters and loggers in listeners, its metadata in routes (mixer_proxy.md K)."""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.filters.extensions import NOTHING, Direction, Spot
from mast.pilot.core.mixer.filters import MixerExtensions, check_cache
from mast.pilot.core.model.mesh import Mesh, complete
from mast.pilot.core.model.model import Port, Service
from mast.pilot.core.model.proxy import Proxy, ProxyType
from tests.support.messages import made, plain

MIXER = """
mixerCheckServer: istio-policy.istio-system.svc.cluster.local:15004
mixerReportServer: istio-telemetry.istio-system.svc.cluster.local:15004
"""
POLICY_CLUSTER = "outbound|15004||istio-policy.istio-system.svc.cluster.local"
TELEMETRY_CLUSTER = "outbound|15004||istio-telemetry.istio-system.svc.cluster.local"
CHECK_FILTERS = ["istio.mixer", "envoy.filters.http.ext_authz"]


def service(host: str = "web.shop.svc.cluster.local", **changes: Any) -> Service:
    return Service(
        host=host,
        namespace="shop",
        ports=(Port(name="http", number=80, target_port=80),),
        **changes,
    )


def extensions(mesh: str = MIXER) -> MixerExtensions:
    return MixerExtensions(Mesh(complete(made(MeshConfig, mesh))))


def spot(
    direction: Direction = Direction.INBOUND,
    kind: ProxyType = ProxyType.SIDECAR,
    owner: Service | None = None,
    **annotations: str,
) -> Spot:
    names = {f"policy.istio.io/{name}": value for name, value in annotations.items()}
    proxy = Proxy(
        node_id="",
        type=kind,
        ip_addresses=("10.0.0.1",),
        id=".shop",
        dns_domain="shop.svc.cluster.local",
        namespace="shop",
        metadata={"ANNOTATIONS": names} if names else {},
    )
    own = owner or (service() if direction is Direction.INBOUND else None)
    return Spot(proxy=proxy, direction=direction, port=80, service=own)


def filters(found: MixerExtensions, where: Spot) -> dict[str, dict[str, Any]]:
    every = (*found.http_filters(where), *found.checks(where))
    return {each.name: plain(each)["typed_config"] for each in every}


def test_without_mixer_nothing_is_added() -> None:
    found, where = extensions("{}"), spot()
    assert not filters(found, where)
    assert not found.network_filters(where)
    assert not found.http_access_logs(where)
    assert not found.tcp_access_logs(where)
    assert found.tcp_log_interval(where) is None
    assert found.destination(where, service().host, service()) == NOTHING
    assert found.virtual_host(where, service()) == NOTHING


def test_inbound_filters_in_their_order() -> None:
    assert list(filters(extensions(), spot())) == [
        "envoy.filters.http.set_filter_state",
        "istio.mixer",
        "envoy.filters.http.ext_authz",
        "envoy.filters.http.header_mutation",
    ]


def test_the_check_is_skipped_only_for_marked_hits() -> None:
    check = filters(extensions(), spot())["envoy.filters.http.ext_authz"]
    assert check["filter_enabled_metadata"] == {
        "filter": "istio.mixer",
        "path": [{"key": "hit"}],
        "value": {"bool_match": True},
        "invert": True,
    }
    assert check["status_on_error"] == {"code": "ServiceUnavailable"}
    assert "failure_mode_allow" not in check
    assert check["clear_route_cache"] is True
    assert check["include_tls_session"] is True
    assert check["metadata_context_namespaces"] == ["istio.mixer", "envoy.filters.http.jwt_authn"]
    assert check["route_metadata_context_namespaces"] == ["istio.mixer"]


def test_the_call_waits_out_a_restart_of_mixer() -> None:
    call = filters(extensions(), spot())["envoy.filters.http.ext_authz"]["grpc_service"]
    assert call["envoy_grpc"] == {"cluster_name": POLICY_CLUSTER, "authority": "mixer"}
    assert call["timeout"] == "5s"
    assert call["retry_policy"] == {
        "retry_on": "cancelled,unavailable,connect-failure,refused-stream,"
        "reset-before-request,reset",
        "num_retries": 20,
        "retry_back_off": {"base_interval": "0.080s", "max_interval": "1s"},
        # Of replicas that were not asked before.
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/"
                    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": "5",
    }
    sent = {each["key"]: each["value"] for each in call["initial_metadata"]}
    assert sent == {
        "x-mixer-reporter": "inbound",
        "x-mixer-uid": "kubernetes://%ENVIRONMENT(POD_NAME)%.%ENVIRONMENT(POD_NAMESPACE)%",
        "x-mixer-address": "%ENVIRONMENT(INSTANCE_IP)%",
        "x-mixer-proxy-version": "%ENVIRONMENT(ISTIO_META_ISTIO_VERSION)%",
        "x-mixer-mesh-id": "%ENVIRONMENT(ISTIO_META_MESH_ID)%",
    }


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({"checkRetries": "0"}, None, id="none"),
        pytest.param(
            {"checkRetries": "3"}, (3, "0.080s", "1s"), id="istios-default-waits"
        ),
        pytest.param(
            {"checkBaseRetryWaitTime": "200ms", "checkMaxRetryWaitTime": "2.5s"},
            (20, "0.200s", "2.500s"),
            id="waits",
        ),
        pytest.param(
            {"checkRetries": "x", "checkBaseRetryWaitTime": "-1s", "checkMaxRetryWaitTime": "0s"},
            (20, "0.080s", "1s"),
            id="nonsense",
        ),
        pytest.param(
            {"checkBaseRetryWaitTime": "3s"}, (20, "3s", "3s"), id="longest-not-below-shortest"
        ),
        pytest.param({"check": "allow-on-error"}, (2, "0.080s", "1s"), id="few-where-it-may-pass"),
        pytest.param(
            {"check": "allow-on-error", "checkRetries": "7"}, (7, "0.080s", "1s"), id="as-wanted"
        ),
    ],
)  # fmt: skip
def test_retries_by_annotation(annotations, expected) -> None:
    call = filters(extensions(), spot(**annotations))["envoy.filters.http.ext_authz"][
        "grpc_service"
    ]
    retries = call.get("retry_policy")
    back_off = retries and retries["retry_back_off"]
    found = retries and (
        retries["num_retries"], back_off["base_interval"], back_off["max_interval"]
    )  # fmt: skip
    assert found == expected


@pytest.mark.parametrize(
    ("mesh", "where", "expected"),
    [
        pytest.param("", spot(), True, id="inbound"),
        pytest.param("", spot(Direction.OUTBOUND), False, id="not-outbound"),
        pytest.param("", spot(Direction.OUTBOUND, ProxyType.ROUTER), True, id="gateway"),
        pytest.param(
            "enableClientSidePolicyCheck: true", spot(Direction.OUTBOUND), True, id="client-side"
        ),
        pytest.param("disablePolicyChecks: true", spot(), False, id="off"),
        pytest.param(
            "disablePolicyChecks: true", spot(check="enable"), True, id="annotation-turns-on"
        ),
        pytest.param("", spot(check="disable"), False, id="annotation-turns-off"),
        pytest.param("", spot(check="maybe"), True, id="unknown-annotation"),
        pytest.param("", spot(Direction.OUTBOUND, check="enable"), True, id="annotation-outbound"),
    ],
)
def test_where_checks_are_made(mesh, where, expected) -> None:
    found = extensions(MIXER + mesh)
    assert ([n for n in filters(found, where) if n in CHECK_FILTERS] == CHECK_FILTERS) is expected
    assert bool(found.network_filters(where)) is expected
    # Reports do not depend on it (A40).
    assert len(found.http_access_logs(where)) == len(found.tcp_access_logs(where)) == 1


def test_without_a_check_server_only_reports_are_made() -> None:
    found = extensions("mixerReportServer: istio-telemetry.istio-system.svc.cluster.local:15004")
    assert not set(CHECK_FILTERS) & set(filters(found, spot()))
    assert found.http_access_logs(spot())


def test_without_a_report_server_only_checks_are_made() -> None:
    found = extensions("mixerCheckServer: istio-policy.istio-system.svc.cluster.local:15004")
    assert set(CHECK_FILTERS) <= set(filters(found, spot()))
    assert not found.http_access_logs(spot())
    assert found.tcp_log_interval(spot()) is None


@pytest.mark.parametrize(
    ("mesh", "annotations", "fail_open"),
    [
        ("", {}, False),
        ("policyCheckFailOpen: true", {}, True),
        ("policyCheckFailOpen: true", {"check": "enable"}, False),
        ("", {"check": "allow-on-error"}, True),
    ],
)
def test_fail_policy(mesh, annotations, fail_open) -> None:
    found, where = extensions(MIXER + mesh), spot(**annotations)
    check = filters(found, where)["envoy.filters.http.ext_authz"]
    assert check.get("failure_mode_allow", False) is fail_open
    (connection,) = found.network_filters(where)
    assert plain(connection)["typed_config"].get("failure_mode_allow", False) is fail_open


@pytest.mark.parametrize("host", ["istio-policy", "istio-telemetry"])
def test_mixer_does_not_ask_itself(host) -> None:
    own = service(f"{host}.istio-system.svc.cluster.local")
    where = spot(owner=own)
    assert not filters(extensions(), where)
    assert not extensions().network_filters(where)
    assert not extensions().http_access_logs(where)
    assert not extensions().tcp_access_logs(where)
    called = extensions().destination(spot(Direction.OUTBOUND), own.host, own)
    config = called.typed_per_filter_config["envoy.filters.http.ext_authz"]
    assert b"ExtAuthzPerRoute" in config.type_url.encode()
    assert MessageToDict(config)["disabled"] is True
    assert not extensions().destination(where, own.host, own).typed_per_filter_config


def test_the_script_runs_under_the_name_of_the_routes_metadata() -> None:
    found = filters(extensions(), spot())["istio.mixer"]
    assert found["@type"].endswith("Lua")
    assert found["default_source_code"]["inline_string"] == check_cache(edge=False)
    gateway = filters(extensions(), spot(Direction.OUTBOUND, ProxyType.ROUTER))["istio.mixer"]
    assert gateway["default_source_code"]["inline_string"] == check_cache(edge=True)


def test_who_calls_is_told_and_taken_out() -> None:
    inbound = filters(extensions(), spot())
    kept = inbound["envoy.filters.http.set_filter_state"]["on_request_headers"][0]
    assert kept["object_key"] == "istio.mixer.peer"
    source = kept["format_string"]["text_format_source"]["inline_string"]
    assert source == "%REQ(x-mast-peer?x-istio-attributes)%"
    taken = inbound["envoy.filters.http.header_mutation"]["mutations"]["request_mutations"]
    assert taken == [{"remove": "x-mast-peer"}, {"remove": "x-istio-attributes"}]

    outbound = filters(extensions(), spot(Direction.OUTBOUND))
    assert "envoy.filters.http.set_filter_state" not in outbound
    put = outbound["envoy.filters.http.header_mutation"]["mutations"]["request_mutations"]
    assert put == [
        {"remove": "x-istio-attributes"},
        {
            "append": {
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                "header": {
                    "key": "x-mast-peer",
                    "value": "kubernetes://%ENVIRONMENT(POD_NAME)%.%ENVIRONMENT(POD_NAMESPACE)%"
                    ",%ENVIRONMENT(INSTANCE_IP)%",
                },
            }
        },
    ]


@pytest.mark.parametrize(
    ("direction", "host", "known", "metadata", "removed"),
    [
        pytest.param(
            Direction.OUTBOUND, "web.shop.svc.cluster.local", service(),
            {"host": "web.shop.svc.cluster.local", "name": "web", "namespace": "shop",
             "uid": "istio://shop/services/web"}, (), id="service",
        ),
        pytest.param(
            Direction.INBOUND, "web.shop.svc.cluster.local", service(name="short"),
            {"host": "web.shop.svc.cluster.local", "name": "short", "namespace": "shop",
             "uid": "istio://shop/services/short"}, (), id="platforms-name",
        ),
        pytest.param(
            Direction.OUTBOUND, "api.example.com", service("api.example.com", external=True),
            {"host": "api.example.com", "name": "api.example.com", "namespace": "shop",
             "uid": "istio://shop/services/api.example.com"}, ("x-mast-peer",), id="external",
        ),
        pytest.param(
            Direction.OUTBOUND, "PassthroughCluster", None, {"name": "PassthroughCluster"},
            ("x-mast-peer",), id="passing",
        ),
        pytest.param(
            Direction.OUTBOUND, "no.such.host", None,
            {"host": "no.such.host", "name": "no.such.host"}, ("x-mast-peer",), id="unknown",
        ),
        pytest.param(
            Direction.INBOUND, "InboundPassthroughCluster", None, None, (), id="inbound-unknown"
        ),
    ],
)  # fmt: skip
def test_routes_name_the_service(direction, host, known, metadata, removed) -> None:
    found = extensions().destination(spot(direction), host, known)
    expected = metadata and {f"destination.service.{key}": value for key, value in metadata.items()}
    held = found.metadata.get("istio.mixer")
    assert (held and MessageToDict(held)) == expected
    assert found.mutations.request_remove == removed
    assert not found.typed_per_filter_config


@pytest.mark.parametrize(
    ("mesh", "bytes_", "interval"),
    [
        pytest.param("", 51200, "1s", id="default"),
        pytest.param("reportBatchMaxEntries: 50", 25600, "1s", id="entries"),
        pytest.param("reportBatchMaxEntries: 100000", 524288, "1s", id="too-many-entries"),
        pytest.param("reportBatchMaxTime: 0.25s", 51200, "0.250s", id="time"),
        pytest.param("disableReportBatch: true", 0, None, id="each-alone"),
    ],
)
def test_batches(mesh, bytes_, interval) -> None:
    for loggers in ("http_access_logs", "tcp_access_logs"):
        (log,) = getattr(extensions(MIXER + mesh), loggers)(spot())
        common = plain(log)["typed_config"]["common_config"]
        assert common["buffer_size_bytes"] == bytes_
        assert common.get("buffer_flush_interval") == interval
        assert common["log_name"] == "inbound"
        called = {"cluster_name": TELEMETRY_CLUSTER, "authority": "mixer"}
        assert common["grpc_service"]["envoy_grpc"] == called


def test_http_reports_can_be_turned_off_alone() -> None:
    found = extensions(MIXER + "disableMixerHttpReports: true")
    assert not found.http_access_logs(spot())
    assert found.tcp_access_logs(spot())


def test_reports_carry_the_service_and_the_caller() -> None:
    (log,) = extensions().http_access_logs(spot())
    tags = {each["tag"] for each in plain(log)["typed_config"]["common_config"]["custom_tags"]}
    service_tags = {f"destination.service.{each}" for each in ("host", "name", "namespace", "uid")}
    assert tags == service_tags | {"peer"}
    (log,) = extensions().http_access_logs(spot(Direction.OUTBOUND))
    tags = {each["tag"] for each in plain(log)["typed_config"]["common_config"]["custom_tags"]}
    assert tags == service_tags


@pytest.mark.parametrize(("mesh", "checked"), [("", True), ("disablePolicyChecks: true", False)])
def test_reports_of_connections_say_whether_a_verdict_follows(mesh, checked) -> None:
    (log,) = extensions(MIXER + mesh).tcp_access_logs(spot())
    tags = plain(log)["typed_config"]["common_config"].get("custom_tags", [])
    assert tags == ([{"tag": "checked", "literal": {"value": "true"}}] if checked else [])


@pytest.mark.parametrize("server", ["", "nonsense", "host:http", ":15004"])
def test_a_server_that_is_none(server) -> None:
    found = extensions(f"mixerReportServer: {server!r}\nmixerCheckServer: {server!r}")
    assert not found.http_access_logs(spot())
    assert not filters(found, spot())
