"""How proxies find a Mixer that works among its replicas."""

from datetime import timedelta
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.destination_rule_pb2 import TrafficPolicy

CONNECT_TIMEOUT: Final = timedelta(seconds=1)
"""A fifth of the time that a check has."""
_FAILURES: Final = 3
_INTERVAL: Final = timedelta(seconds=1)
_LONGEST_EJECTION: Final = timedelta(seconds=10)
_EJECTED_PERCENT: Final = 50


def hosts(config: MeshConfig) -> frozenset[str]:
    """Those of the services that checks and reports go to."""
    servers = (config.mixer_check_server, config.mixer_report_server)
    return frozenset(each.rpartition(":")[0] for each in servers if each)


def prefer_working(cluster: Cluster, policy: TrafficPolicy) -> None:
    """Leave out a replica that died, in a cluster of Mixer, unless a rule for it says how.

    Only calls that do not get through count: a replica that sheds load answers, and leaving it out
    would send its load to the others. At most half of the replicas is left out.

    Differs from Istio: without a rule its proxies go on asking dead replicas until somebody takes
    them out of the registry.
    """
    if not policy.connection_pool.tcp.HasField("connect_timeout"):
        cluster.connect_timeout.FromTimedelta(CONNECT_TIMEOUT)
    if policy.HasField("outlier_detection"):
        return
    # Envoy would hold back a second change of its opinion for a second, and fail calls meanwhile.
    cluster.common_lb_config.update_merge_window.CopyFrom(Duration())
    cluster.outlier_detection.CopyFrom(
        OutlierDetection(
            split_external_local_origin_errors=True,
            consecutive_local_origin_failure=UInt32Value(value=_FAILURES),
            enforcing_consecutive_local_origin_failure=UInt32Value(value=100),
            enforcing_local_origin_success_rate=UInt32Value(value=0),
            enforcing_consecutive_5xx=UInt32Value(value=0),
            enforcing_success_rate=UInt32Value(value=0),
            interval=_message(_INTERVAL),
            base_ejection_time=_message(_INTERVAL),
            max_ejection_time=_message(_LONGEST_EJECTION),
            max_ejection_percent=UInt32Value(value=_EJECTED_PERCENT),
        )
    )


def _message(length: timedelta) -> Duration:
    result = Duration()
    result.FromTimedelta(length)
    return result
