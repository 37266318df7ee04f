"""Which statistics Envoy keeps and how it tags them (citadel-and-agent.md B5)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from envoy.config.metrics.v3.stats_pb2 import (
    HistogramBucketSettings,
    StatsConfig,
    StatsMatcher,
    TagSpecifier,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.common.process.settings import duration

TAGS: Final[Mapping[str, str]] = {
    "cluster_name": r"^cluster(\.(.+);)",
    "tcp_prefix": r"^tcp\.((.*?)\.)\w+?$",
    "response_code": r"_rq(_(\d{3}))$",
    "response_code_class": r"_rq(_(\dxx))$",
    "http_conn_manager_listener_prefix": (
        r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"
    ),
    "http_conn_manager_prefix": (
        r"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)"
    ),
    "listener_address": r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    "mongo_prefix": r"^mongo\.(.+?)\.(collection|cmd|cx_|op_|delays_|decoding_)(.*?)$",
    "thread_name": r"^server(\.(.+))\.watchdog",
    "cache": r"(cache\.(.+?)\.)",
    "component": r"(component\.(.+?)\.)",
    "tag": r"(tag\.(.+?);\.)",
    "wasm_filter": r"(wasm_filter\.(.+?)\.)",
    "authz_enforce_result": r"rbac(\.(allowed|denied))",
    "authz_dry_run_action": r"(\.istio_dry_run_(allow|deny)_)",
    "authz_dry_run_result": r"(\.shadow_(allowed|denied))",
}

PREFIXES: Final = (
    "reporter=",
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "wasm",
    "component",
    "istio",
    "access_logs.grpc_access_log",
)
"""Differs from Istio: how many entries of access logs were sent to Mixer (docs/telemetry.md)."""
SUFFIXES: Final = ("rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied")
PATTERNS: Final = (r"vhost\..*\.route\..*",)
ACTIVE_CONNECTIONS: Final = "downstream_cx_active"

ANNOTATION: Final = "sidecar.istio.io/stats"
_FLUSH: Final = timedelta(seconds=5)


def stats_config(
    config: ProxyConfig, annotations: Mapping[str, str], *, exit_on_zero: bool
) -> StatsConfig:
    """Stats that Istio keeps, extended by ProxyConfig and by the pod's annotations.

    Raises ValueError that names the annotation if its histogram buckets cannot be read.
    """
    matcher = config.proxy_stats_matcher
    suffixes = (*SUFFIXES, ACTIVE_CONNECTIONS) if exit_on_zero else SUFFIXES
    patterns = [
        *_matchers(
            "prefix",
            PREFIXES,
            matcher.inclusion_prefixes,
            _listed(annotations, "InclusionPrefixes"),
        ),
        *_matchers(
            "suffix",
            suffixes,
            matcher.inclusion_suffixes,
            _listed(annotations, "InclusionSuffixes"),
        ),
        *_matchers(
            "regex", PATTERNS, matcher.inclusion_regexps, _listed(annotations, "InclusionRegexps")
        ),
    ]
    return StatsConfig(
        use_all_default_tags=BoolValue(value=False),
        stats_tags=[*_standard_tags(), *_custom_tags(config, annotations)],
        stats_matcher=StatsMatcher(inclusion_list=ListStringMatcher(patterns=patterns)),
        histogram_bucket_settings=_buckets(annotations),
    )


@dataclass(frozen=True)
class Intervals:
    """How often statistics go to sinks, and after which time unused ones are forgotten."""

    flush: timedelta | None = None
    eviction: timedelta | None = None


def intervals(annotations: Mapping[str, str]) -> Intervals:
    """Of the pod's annotations; None leaves Envoy its own: 5 s, and never.

    Raises ValueError that names the annotation that Envoy would not start with.
    """
    flush = _interval(annotations, "FlushInterval")
    eviction = _interval(annotations, "EvictionInterval")
    if flush is not None and not timedelta(milliseconds=1) <= flush < timedelta(minutes=5):
        raise ValueError(f"annotation {ANNOTATION}FlushInterval: want at least 1ms, less than 5m")
    if eviction is not None and (not eviction or eviction % (flush or _FLUSH)):
        raise ValueError(
            f"annotation {ANNOTATION}EvictionInterval: want a multiple of the flush interval,"
            f" {(flush or _FLUSH).total_seconds():g}s"
        )
    return Intervals(flush, eviction)


def _interval(annotations: Mapping[str, str], what: str) -> timedelta | None:
    text = annotations.get(f"{ANNOTATION}{what}", "")
    try:
        return duration(text) if text else None
    except ValueError as error:
        raise ValueError(f"annotation {ANNOTATION}{what}: {error}") from error


def _standard_tags() -> list[TagSpecifier]:
    return [TagSpecifier(tag_name=name, regex=pattern) for name, pattern in TAGS.items()]


def _custom_tags(config: ProxyConfig, annotations: Mapping[str, str]) -> list[TagSpecifier]:
    listed = annotations.get("sidecar.istio.io/extraStatTags", "").split(",")
    names = dict.fromkeys(each.strip() for each in [*config.extra_stat_tags, *listed])
    return [TagSpecifier(tag_name=name, regex=rf"({name}=\.=(.*?);\.;)") for name in names if name]


def _listed(annotations: Mapping[str, str], what: str) -> list[str]:
    return [each for each in annotations.get(f"{ANNOTATION}{what}", "").split(",") if each]


def _matchers(kind: str, *sources: Iterable[str]) -> list[StringMatcher]:
    values = dict.fromkeys(value for source in sources for value in source)
    if kind == "prefix":
        return [StringMatcher(prefix=value) for value in values]
    if kind == "suffix":
        return [StringMatcher(suffix=value) for value in values]
    return [StringMatcher(safe_regex=RegexMatcher(regex=value)) for value in values]


def _buckets(annotations: Mapping[str, str]) -> list[HistogramBucketSettings]:
    name = f"{ANNOTATION}HistogramBuckets"
    text = annotations.get(name, "")
    if not text:
        return []
    try:
        by_prefix = {str(key): [float(each) for each in v] for key, v in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f'annotation {name}: want JSON like {{"istio":[1,5,10]}}, got {text!r}'
        ) from error
    return [
        HistogramBucketSettings(match=StringMatcher(prefix=prefix), buckets=buckets)
        for prefix, buckets in by_prefix.items()
    ]
