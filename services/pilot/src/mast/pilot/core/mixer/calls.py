"""How proxies call Mixer: clusters, deadlines, retries, and what a pod's annotations change."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from envoy.config.core.v3.backoff_pb2 import BackoffStrategy
from envoy.config.core.v3.base_pb2 import HeaderValue, RetryPolicy
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import (
    PreviousHostsPredicate,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core import names
from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed

MARKS: Final = "istio.mixer"
"""Metadata of routes that holds the service, and of requests that holds what the cache found."""

REPORTER: Final = "x-mixer-reporter"
UID: Final = "x-mixer-uid"
ADDRESS: Final = "x-mixer-address"
VERSION: Final = "x-mixer-proxy-version"
MESH: Final = "x-mixer-mesh-id"
"""gRPC metadata of every check: the direction, and who the proxy is (C.5, static attributes)."""

AUTHORITY: Final = "mixer"
"""Of every call; by default Envoy puts the name of the cluster there (C14)."""

SELF: Final = "kubernetes://%ENVIRONMENT(POD_NAME)%.%ENVIRONMENT(POD_NAMESPACE)%"

CHECK_TIMEOUT: Final = timedelta(seconds=5)
_RETRIES: Final = 20
_OPEN_RETRIES: Final = 2
"""Where requests pass without a check: enough to ask another replica."""
_BASE_WAIT: Final = timedelta(milliseconds=80)
_LONGEST_WAIT: Final = timedelta(seconds=1)
_HOST_ATTEMPTS: Final = 5
"""How often a replica is chosen anew that was asked before; then it is asked again."""
_RETRY_ON: Final = "cancelled,unavailable,connect-failure,refused-stream,reset-before-request,reset"
"""A Mixer that ends cancels calls that come in that very moment; gRPC gives it no other way."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What annotations `policy.istio.io/…` of a pod say; empty or None: nothing (A39)."""

    check: str = ""
    retries: int | None = None
    base_wait: timedelta = _BASE_WAIT
    longest_wait: timedelta = _LONGEST_WAIT

    @classmethod
    def of(cls, proxy: Proxy) -> "Annotations":
        """Those of the pod a proxy runs in; values that make no sense say nothing."""
        given = proxy.metadata.get("ANNOTATIONS")
        values = given if isinstance(given, dict) else {}
        check = str(values.get("policy.istio.io/check", ""))
        retries = str(values.get("policy.istio.io/checkRetries", ""))
        return cls(
            check=check if check in {"enable", "allow-on-error", "disable"} else "",
            retries=int(retries) if retries.isdecimal() else None,
            base_wait=_duration(values.get("policy.istio.io/checkBaseRetryWaitTime"), _BASE_WAIT),
            longest_wait=_duration(
                values.get("policy.istio.io/checkMaxRetryWaitTime"), _LONGEST_WAIT
            ),
        )

    def fail_open(self, mesh_default: bool) -> bool:
        """Whether requests pass while Mixer cannot be reached."""
        return self.check == "allow-on-error" or (not self.check and mesh_default)


def _duration(value: object, default: timedelta) -> timedelta:
    """A duration such as `80ms` or `1s`."""
    text = str(value or "")
    for unit, size in (("ms", timedelta(milliseconds=1)), ("s", timedelta(seconds=1))):
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdecimal():
            return float(number) * size if float(number) > 0 else default
    return default


@dataclass(frozen=True, kw_only=True)
class Check:
    """One way of asking Mixer, which is a service of the mesh."""

    cluster: str
    direction: Direction
    fail_open: bool
    annotations: Annotations


def cluster_of(server: str) -> str:
    """The outbound cluster of a HOST:PORT (pilot.md L1); empty if the text is none."""
    host, _, port = server.rpartition(":")
    return names.outbound_cluster(int(port), "", host) if host and port.isdecimal() else ""


def report_cluster(config: MeshConfig) -> str:
    """The cluster that reports go to, empty if there is none."""
    return cluster_of(config.mixer_report_server)


def check_service(check: Check) -> GrpcService:
    """The gRPC call of a check.

    Differs from Istio: without the annotation, calls that do not reach Mixer are repeated as long
    as the deadline lasts, so that a restart of Mixer delays requests instead of failing them; if
    they would pass, only twice. Retries go to replicas that were not asked before, if there are
    any. Istio's default of 0 retries (C12) can be had with `policy.istio.io/checkRetries: "0"`.
    """
    annotations = check.annotations
    service = GrpcService(
        envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=check.cluster, authority=AUTHORITY),
        timeout=_message(CHECK_TIMEOUT),
        initial_metadata=[
            HeaderValue(key=REPORTER, value=check.direction.value),
            HeaderValue(key=UID, value=SELF),
            HeaderValue(key=ADDRESS, value="%ENVIRONMENT(INSTANCE_IP)%"),
            HeaderValue(key=VERSION, value="%ENVIRONMENT(ISTIO_META_ISTIO_VERSION)%"),
            HeaderValue(key=MESH, value="%ENVIRONMENT(ISTIO_META_MESH_ID)%"),
        ],
    )
    retries = annotations.retries
    if retries is None:
        retries = _OPEN_RETRIES if check.fail_open else _RETRIES
    if retries:
        service.retry_policy.CopyFrom(
            RetryPolicy(
                retry_on=_RETRY_ON,
                num_retries=UInt32Value(value=retries),
                retry_back_off=BackoffStrategy(
                    base_interval=_message(annotations.base_wait),
                    max_interval=_message(max(annotations.base_wait, annotations.longest_wait)),
                ),
                retry_host_predicate=[_another_replica()],
                host_selection_retry_max_attempts=_HOST_ATTEMPTS,
            )
        )
    return service


def _another_replica() -> RetryPolicy.RetryHostPredicate:
    name = "envoy.retry_host_predicates.previous_hosts"
    config = packed(PreviousHostsPredicate())
    return RetryPolicy.RetryHostPredicate(name=name, typed_config=config)


def _message(length: timedelta) -> Duration:
    result = Duration()
    result.FromTimedelta(length)
    return result
