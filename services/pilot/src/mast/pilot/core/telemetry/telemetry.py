"""All that one proxy logs, traces and measures, as one value."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from istio.telemetry.v1alpha1 import telemetry_pb2 as api
from mast.pilot.core.filters.access_logs import unrouted
from mast.pilot.core.filters.extensions import Direction, Traced
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Port, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.attachments import by_level
from mast.pilot.core.scope.proxy_configs import effective
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.telemetry import policies
from mast.pilot.core.telemetry.loggers import access_loggers
from mast.pilot.core.telemetry.measuring import metric_tags
from mast.pilot.core.telemetry.providers import Collector, Providers
from mast.pilot.core.telemetry.tracing import traced


@dataclass(frozen=True, kw_only=True, eq=False)
class Flow:
    """What holds for one direction. `interval` is between reports of open TCP connections."""

    http_logs: Sequence[AccessLog] = ()
    tcp_logs: Sequence[AccessLog] = ()
    listener_logs: Sequence[AccessLog] = ()
    traced: Traced | None = None
    metric_tags: Sequence[CustomTag] = ()
    interval: timedelta | None = None


NOTHING: Final = Flow()


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """What holds for one proxy; equal if everything it puts into listeners is.

    `collectors` are the services it is sent to.
    """

    digest: str = ""
    flows: Mapping[Direction, Flow] = field(default_factory=dict, compare=False)
    collectors: Sequence[Collector] = field(default=(), compare=False)

    def of(self, direction: Direction) -> Flow:
        """What holds for a direction."""
        return self.flows.get(direction, NOTHING)


def telemetry(scope: Scope, proxy: Proxy) -> Telemetry:
    """What mesh, Telemetry objects and the proxy's own configuration make of it (pilot.md K5)."""
    return scope.cached(("telemetry", proxy), lambda inner: _build(inner, proxy))


def hidden_collectors(scope: Scope, proxy: Proxy) -> Iterator[tuple[Service, Port]]:
    """Where a proxy sends telemetry though its Sidecar leaves that port out."""
    for service, number in telemetry(scope, proxy).collectors:
        port, seen = service.port(number), scope.service(service.host)
        if port is not None and (seen is None or seen.port(number) is None):
            yield service, port


def _build(scope: Scope, proxy: Proxy) -> Telemetry:
    objects = list(by_level(scope, collection_names.TELEMETRIES, proxy))
    levels = [each.spec for each in objects]
    config = effective(scope, proxy)
    users = {
        name: each.meta.object_name
        for each in objects
        for name in policies.named_providers(each.spec)
    }
    providers = Providers(scope, users)
    flows = {each: _flow(levels, each, providers, proxy, config) for each in Direction}
    collectors = {(each.service.key, each.port): each for each in providers.collectors}
    return Telemetry(
        digest=_digest(flows),
        flows=flows,
        collectors=tuple(collectors[key] for key in sorted(collectors)),
    )


def _flow(
    levels: Sequence[api.Telemetry],
    direction: Direction,
    providers: Providers,
    proxy: Proxy,
    config: ProxyConfig,
) -> Flow:
    mesh = providers.scope.mesh.config
    wanted = policies.loggers(levels, mesh, direction)
    service = bool(config.envoy_access_log_service.address)
    tcp_logs = access_loggers(wanted, providers, http=False, log_service=service)
    measures = policies.measures(levels, direction)
    return Flow(
        http_logs=access_loggers(wanted, providers, http=True, log_service=service),
        tcp_logs=tcp_logs,
        listener_logs=[] if mesh.disable_envoy_listener_log else [*map(unrouted, tcp_logs)],
        traced=traced(policies.traces(levels, mesh, direction), providers, proxy, config),
        metric_tags=metric_tags(measures),
        interval=measures.interval,
    )


def _digest(flows: Mapping[Direction, Flow]) -> str:
    """A hash of all that goes into listeners."""
    digest = blake2b(digest_size=16)
    for direction in sorted(flows):
        flow = flows[direction]
        parts: list[bytes] = []
        for group in (flow.http_logs, flow.tcp_logs, flow.listener_logs, flow.metric_tags):
            parts += [each.SerializeToString(deterministic=True) for each in group] + [b""]
        if flow.traced is not None:
            parts.append(flow.traced.config.SerializeToString(deterministic=True))
            parts.append(str(flow.traced.request_ids_tell).encode())
        parts.append(f"{direction} {flow.interval}".encode())
        for part in parts:
            digest.update(len(part).to_bytes(4) + part)
    return digest.hexdigest()
