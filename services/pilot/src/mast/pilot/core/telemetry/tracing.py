"""How HTTP connection managers trace: sampling, tags and tracer (pilot.md E9, K5)."""

from collections.abc import Iterator, Mapping
from typing import Final

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from envoy.type.v3.percent_pb2 import Percent

from istio.mesh.v1alpha1 import proxy_pb2 as mesh_api
from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from istio.telemetry.v1alpha1 import telemetry_pb2 as api
from mast.pilot.core.filters.extensions import Traced
from mast.pilot.core.format_strings import format_string
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.telemetry import tracers
from mast.pilot.core.telemetry.policies import Traces
from mast.pilot.core.telemetry.providers import Providers
from mast.pilot.core.telemetry.workload import UNKNOWN, canonical_name, canonical_revision

DEFAULT_SAMPLING: Final = 1.0
"""Percent of requests that start a trace (pilot.md A8)."""

Tag = api.Tracing.CustomTag | mesh_api.Tracing.CustomTag


def traced(
    traces: Traces | None, providers: Providers, proxy: Proxy, config: ProxyConfig
) -> Traced | None:
    """Tracing of one direction; None: requests are not traced.

    `traces` is None where only MeshConfig speaks: then `enableTracing` switches the tracer of the
    bootstrap on. `config` is the proxy's, whose tracing settings hold where nobody else says more.
    """
    own = config.tracing
    if traces is None:
        if not providers.scope.mesh.config.enable_tracing:
            return None
        traces = Traces()
    elif not traces.reported:
        return None
    sampling = own.sampling or DEFAULT_SAMPLING if traces.sampling is None else traces.sampling
    istio_tags = traces.istio_tags
    if istio_tags is None:
        istio_tags = not own.HasField("enable_istio_tags") or own.enable_istio_tags.value
    tags: dict[str, Tag] = {**own.custom_tags, **traces.tags}
    result = HttpConnectionManager.Tracing(
        client_sampling=Percent(value=100),
        random_sampling=Percent(value=sampling),
        overall_sampling=Percent(value=100),
        custom_tags=_tags(_istio_tags(proxy) if istio_tags else {}, tags),
    )
    longest = own.max_path_tag_length
    if traces.provider:
        http = tracers.tracer(traces.provider, providers, proxy)
        if http is None:
            return None
        result.provider.CopyFrom(http)
        provider = providers.named(traces.provider)
        longest = tracers.max_tag_length(provider) or longest
        if tracers.spawns_spans(provider):
            result.spawn_upstream_span.value = True
    if longest:
        result.max_path_tag_length.value = longest
    return Traced(config=result, request_ids_tell=traces.request_ids_tell is not False)


def _istio_tags(proxy: Proxy) -> Mapping[str, str]:
    return {
        "istio.canonical_revision": canonical_revision(proxy),
        "istio.canonical_service": canonical_name(proxy),
        "istio.cluster_id": proxy.cluster_id or UNKNOWN,
        "istio.mesh_id": proxy.text("MESH_ID") or UNKNOWN,
        "istio.namespace": proxy.namespace,
    }


def _tags(own: Mapping[str, str], given: Mapping[str, Tag]) -> Iterator[CustomTag]:
    """Tags by name; those of users win. One with an empty text is none."""
    for name in sorted({*own, *given}):
        if name not in given:
            yield CustomTag(tag=name, literal=CustomTag.Literal(value=own[name]))
        elif (tag := _tag(name, given[name])) is not None:
            yield tag


def _tag(name: str, tag: Tag) -> CustomTag | None:
    match tag.WhichOneof("type"):
        case "literal" if tag.literal.value:
            return CustomTag(tag=name, literal=CustomTag.Literal(value=tag.literal.value))
        case "environment":
            return CustomTag(
                tag=name,
                environment=CustomTag.Environment(
                    name=tag.environment.name, default_value=tag.environment.default_value
                ),
            )
        case "header":
            return CustomTag(
                tag=name,
                request_header=CustomTag.Header(
                    name=tag.header.name, default_value=tag.header.default_value
                ),
            )
        case "formatter" if isinstance(tag, api.Tracing.CustomTag):
            return CustomTag(tag=name, value=format_string(tag.formatter.value))
    return None
