"""Metadata under `istio` that filters and telemetry read from clusters (pilot.md C3)."""

from collections.abc import Sequence

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from mast.pilot.core import names
from mast.pilot.core.clusters.destination_rules import Rule
from mast.pilot.core.model.model import Service

ISTIO = "istio"


def describe(
    cluster: Cluster,
    services: Sequence[Service],
    *,
    port: int = 0,
    subset: str = "",
    rule: Rule | None = None,
) -> None:
    """Say which services, port, subset and DestinationRule a cluster comes from."""
    fields: dict[str, Value] = {}
    if services:
        entries = [Value(struct_value=_service(each)) for each in services]
        fields["services"] = Value(list_value=ListValue(values=entries))
    if port:
        fields["default_original_port"] = Value(number_value=port)
    if rule is not None:
        fields["config"] = _text(names.config_reference(rule.origins[0]))
    if subset:
        fields["subset"] = _text(subset)
    if any(each.external for each in services):
        fields["external"] = Value(bool_value=True)
    if fields:
        cluster.metadata.filter_metadata[ISTIO].CopyFrom(Struct(fields=fields))


def keep_alpn(cluster: Cluster) -> None:
    """Tell the ALPN filter that the destination is no sidecar."""
    cluster.metadata.filter_metadata[ISTIO].fields["alpn_override"].CopyFrom(_text("false"))


def _service(service: Service) -> Struct:
    return Struct(
        fields={
            "host": _text(service.host),
            "name": _text(service.name or service.host),
            "namespace": _text(service.namespace),
        }
    )


def _text(value: str) -> Value:
    return Value(string_value=value)
