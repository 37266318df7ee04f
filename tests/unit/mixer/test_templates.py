"""The compiled templates (mixer.md F)."""

from __future__ import annotations

import pytest

from mast.common.expressions.types import ValueType
from mast.common.kinds import LEGACY_TEMPLATES
from mast.mixer.core.templates import TEMPLATES, MapOf, Record, Scalar, Variety


@pytest.mark.parametrize(
    ("name", "variety", "fields"),
    [
        ("apikey", "CHECK", "api api_version api_operation api_key timestamp"),
        ("authorization", "CHECK", "subject action"),
        ("checknothing", "CHECK", ""),
        ("listentry", "CHECK", "value"),
        ("quota", "QUOTA", "dimensions"),
        ("metric", "REPORT",
         "value dimensions monitored_resource_type monitored_resource_dimensions"),
        ("logentry", "REPORT", "variables timestamp severity monitored_resource_type "
         "monitored_resource_dimensions"),
        ("reportnothing", "REPORT", ""),
        ("tracespan", "REPORT",
         "trace_id span_id parent_span_id span_name start_time end_time span_tags httpStatusCode "
         "client_span rewrite_client_span_id source_name source_ip destination_name "
         "destination_ip request_size request_total_size response_size response_total_size "
         "api_protocol"),
        ("edge", "REPORT",
         "timestamp source_uid source_owner source_workload_name source_workload_namespace "
         "destination_uid destination_owner destination_workload_name "
         "destination_workload_namespace destination_service_namespace destination_service_name "
         "context_protocol api_protocol"),
        ("kubernetes", "ATTRIBUTE_GENERATOR",
         "source_uid source_ip destination_uid destination_ip destination_port"),
    ],
)  # fmt: skip
def test_fields(name: str, variety: str, fields: str) -> None:
    template = TEMPLATES[name]
    assert template.name == name
    assert template.variety is Variety[variety]
    assert set(template.shape.fields) == set(fields.split())


def test_every_legacy_kind_has_its_template() -> None:
    assert set(LEGACY_TEMPLATES) == set(TEMPLATES)


def test_types() -> None:
    metric = TEMPLATES["metric"].shape.fields
    assert metric["value"] == Scalar(None)
    assert metric["dimensions"] == MapOf(Scalar(None))
    assert metric["monitored_resource_type"] == Scalar(ValueType.STRING)
    subject = TEMPLATES["authorization"].shape.fields["subject"]
    assert isinstance(subject, Record)
    assert subject.fields["groups"] == Scalar(ValueType.STRING)
    span = TEMPLATES["tracespan"].shape.fields
    assert span["httpStatusCode"] == Scalar(ValueType.INT64)
    assert span["client_span"] == Scalar(ValueType.BOOL)
    assert span["start_time"] == Scalar(ValueType.TIMESTAMP)


def test_outputs() -> None:
    outputs = TEMPLATES["kubernetes"].outputs
    of_a_side = {
        "pod_uid",
        "pod_ip",
        "pod_name",
        "labels",
        "namespace",
        "service_account_name",
        "host_ip",
        "workload_uid",
        "workload_name",
        "workload_namespace",
        "owner",
    }
    assert set(outputs) == {
        "destination_container_name",
        *(f"{side}_{name}" for side in ("source", "destination") for name in of_a_side),
    }
    assert outputs["source_labels"] is ValueType.STRING_MAP
    assert outputs["destination_pod_ip"] is ValueType.IP_ADDRESS
    assert outputs["destination_container_name"] is ValueType.STRING
    assert TEMPLATES["metric"].outputs == {}
