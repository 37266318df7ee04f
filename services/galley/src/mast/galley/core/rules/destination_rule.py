"""DestinationRule and the traffic policies it shares with others (B2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mast.galley.core.metadata import dns_label
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    exclusive,
    forbidden,
    is_set,
    json_name,
    prefixed,
    required,
    when,
)

MAGLEV_LIMIT = 5_000_011
# A locality is region/zone/subzone; what is below is no part of any.
_PARTS = 4


def _object(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    yield from common.export_to(spec.export_to, obj.meta.namespace)
    own: list[list[str]] = [[], ["."], [obj.meta.namespace]]
    if is_set(spec, "workload_selector") and list(spec.export_to) not in own:
        message = "with 'workloadSelector' only '.' is allowed"
        yield Finding((*SPEC, "exportTo"), "export-to", message)
    names = [subset.name for subset in spec.subsets]
    for index in values.duplicates(names):
        message = f"subset {names[index]!r} is given twice"
        yield Finding((*SPEC, "subsets", index, "name"), "duplicate", message)
    for path, settings in _all_tls(spec):
        yield from _credential(settings, obj.meta.namespace, path)


def _all_tls(spec: Any) -> Iterator[tuple[Path, Any]]:
    """Every TLS setting of the rule."""
    policies = [((*SPEC, "trafficPolicy"), spec.traffic_policy)]
    policies += [
        ((*SPEC, "subsets", index, "trafficPolicy"), subset.traffic_policy)
        for index, subset in enumerate(spec.subsets)
    ]
    for at, policy in policies:
        yield (*at, "tls"), policy.tls
        for index, port in enumerate(policy.port_level_settings):
            yield (*at, "portLevelSettings", index, "tls"), port.tls


def _credential(tls: Any, namespace: str, at: Path) -> Iterator[Finding]:
    """``configmap://[namespace/]name`` in the rule's own namespace."""
    name = tls.credential_name.removeprefix("configmap://")
    if name != tls.credential_name and "/" in name and name.split("/")[0] != namespace:
        message = f"{tls.credential_name!r} is in another namespace; allowed: {namespace}"
        yield Finding((*at, "credentialName"), "credential", message)


def _traffic_policy(policy: Any, at: Path) -> Iterator[Finding]:
    if not policy.ListFields():
        yield Finding(at, "empty", "the traffic policy is empty")
    yield from exclusive(policy, at, "tunnel", "proxy_protocol")
    yield from _failover_needs_outliers(policy, at)


def _port_policy(policy: Any, at: Path) -> Iterator[Finding]:
    if not is_set(policy, "port"):
        yield required((*at, "port"), "port")
    if len(policy.ListFields()) < 2:
        message = "the settings of a port are empty: at least one is needed"
        yield Finding(at, "empty", message)
    yield from _failover_needs_outliers(policy, at)


def _failover_needs_outliers(policy: Any, at: Path) -> Iterator[Finding]:
    locality = policy.load_balancer.locality_lb_setting
    if (locality.failover or locality.failover_priority) and not policy.HasField(
        "outlier_detection"
    ):
        message = "failover never happens without 'outlierDetection'"
        yield warning((*at, "loadBalancer", "localityLbSetting"), "failover", message)


def _pool(pool: Any, at: Path) -> Iterator[Finding]:
    if not pool.ListFields():
        yield required(at, "tcp", "http")


def _http_pool(http: Any, at: Path) -> Iterator[Finding]:
    if http.use_client_protocol and http.h2_upgrade_policy == http.UPGRADE:
        message = "'UPGRADE' is not allowed together with 'useClientProtocol'"
        yield Finding((*at, "h2UpgradePolicy"), "not-allowed", message)


def _keepalive(keepalive: Any, at: Path) -> Iterator[Finding]:
    for name in ("interval", "timeout"):
        if not is_set(keepalive, name):
            yield required((*at, name), name)


def _outliers(outlier: Any, at: Path) -> Iterator[Finding]:
    if outlier.consecutive_errors:
        message = "'consecutiveErrors' is deprecated; use consecutiveGatewayErrors"
        yield warning((*at, "consecutiveErrors"), "deprecated", message)
    if (
        is_set(outlier, "consecutive_local_origin_failures")
        and not outlier.split_external_local_origin_errors
    ):
        message = "needs 'splitExternalLocalOriginErrors'"
        yield Finding((*at, "consecutiveLocalOriginFailures"), "outlier", message)


def _load_balancer(balancer: Any, at: Path) -> Iterator[Finding]:
    yield from exclusive(balancer, at, "warmup_duration_secs", "warmup")


def _consistent_hash(consistent: Any, at: Path) -> Iterator[Finding]:
    if consistent.WhichOneof("hash_key") is None:
        names = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
        yield required(at, *names)
    if consistent.minimum_ring_size:
        here = (*at, "minimumRingSize")
        if consistent.WhichOneof("hash_algorithm") is not None:
            yield Finding(here, "one-of", "use ringHash.minimumRingSize, not both")
        else:
            message = "'minimumRingSize' is deprecated; use ringHash.minimumRingSize"
            yield warning(here, "deprecated", message)


def _cookie(cookie: Any, at: Path) -> Iterator[Finding]:
    names = [attribute.name.lower() for attribute in cookie.attributes]
    for index in values.duplicates(names):
        message = f"attribute {cookie.attributes[index].name!r} is given twice"
        yield Finding((*at, "attributes", index), "duplicate", message)


def _maglev_size(size: int) -> str | None:
    if size < MAGLEV_LIMIT and _is_prime(size):
        return None
    return f"table size {size} is not allowed; allowed: a prime below {MAGLEV_LIMIT}"


def _is_prime(number: int) -> bool:
    if number < 2:
        return False
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _warmup(warmup: Any, at: Path) -> Iterator[Finding]:
    if warmup.HasField("aggression") and warmup.aggression.value <= 0:
        message = f"aggression {warmup.aggression.value:g} is not allowed; allowed: more than 0"
        yield Finding((*at, "aggression"), "warmup", message)


def _locality(setting: Any, at: Path) -> Iterator[Finding]:
    """Either distribute or failover; shares of each origin add up to 100 (B2 loadBalancer)."""
    yield from exclusive(setting, at, "distribute", "failover", "failover_priority")
    origins = _Localities()
    for index, entry in enumerate(setting.distribute):
        here = (*at, "distribute", index)
        yield from _shares(entry.to, (*here, "to"))
        # The field is named by a word of Python.
        origin = getattr(entry, "from")
        if (other := origins.overlapping(origin)) is not None:
            yield Finding((*here, "from"), "locality", f"{origin!r} overlaps with {other!r}")
        origins.add(origin)
    yield from _failovers(setting.failover, (*at, "failover"))


class _Localities:
    """Localities, ``*`` for anything below; asked whether one has something in common with them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], str] = {}
        self._above: dict[tuple[str, ...], str] = {}

    def add(self, locality: str) -> None:
        """Have one more."""
        parts = _parts(locality)
        self._known.setdefault(parts, locality)
        for end in range(len(parts)):
            self._above.setdefault(parts[:end], locality)

    def overlapping(self, locality: str) -> str | None:
        """One that is the same, above it or below it."""
        parts = _parts(locality)
        known = (self._known.get(parts[:end]) for end in range(len(parts) + 1))
        return next((each for each in known if each is not None), self._above.get(parts))


def _parts(locality: str) -> tuple[str, ...]:
    """Region, zone and what is below, as far as they are told."""
    parts = locality.split("/", _PARTS)[:_PARTS]
    return tuple(parts[: parts.index("*")] if "*" in parts else parts)


def _shares(to: Mapping[str, int], at: Path) -> Iterator[Finding]:
    for locality, weight in to.items():
        if not 1 <= weight <= 100:
            message = f"weight {weight} is not allowed; allowed: 1 to 100"
            yield Finding((*at, locality), "locality", message)
    if sum(to.values()) != 100:
        yield Finding(at, "locality", f"weights add up to {sum(to.values())}; needed: 100")
    others = _Localities()
    for locality in sorted(to):
        if others.overlapping(locality) is not None:
            message = f"{locality!r} overlaps with another destination"
            yield Finding((*at, locality), "locality", message)
        others.add(locality)


def _failovers(failovers: Sequence[Any], at: Path) -> Iterator[Finding]:
    for index, entry in enumerate(failovers):
        origin, target = getattr(entry, "from"), entry.to
        for name, region in (("from", origin), ("to", target)):
            if not region or "/" in region or "*" in region:
                message = f"{region!r} must be a region: no '/', no '*'"
                yield Finding((*at, index, name), "locality", message)
        if origin == target:
            yield Finding((*at, index, "to"), "locality", f"{target!r} fails over to itself")


def _client_tls(tls: Any, at: Path) -> Iterator[Finding]:
    """Certificates by file or by credential (B2 DestinationRule tls)."""
    files = _FILES[:2]
    if tls.credential_name:
        yield from forbidden(tls, at, "together with 'credentialName'", "ca_crl")
    if tls.mode == tls.MUTUAL:
        if tls.credential_name:
            why = "together with 'credentialName'"
            yield from forbidden(tls, at, why, *files, "ca_certificates")
            here = (*at, "credentialName")
            yield from when(values.own_certificate(tls.credential_name), here, "credential")
        else:
            for name in files:
                if not is_set(tls, name):
                    shown = json_name(tls, name)
                    yield required((*at, shown), shown, "credentialName")
    if tls.mode == tls.ISTIO_MUTUAL:
        why = "in mode ISTIO_MUTUAL"
        yield from forbidden(tls, at, why, *files, "ca_certificates", "credential_name")
    if tls.insecure_skip_verify.value:
        why = "together with 'insecureSkipVerify'"
        yield from forbidden(tls, at, why, "ca_certificates", "subject_alt_names")


def _tunnel(protocol: str) -> str | None:
    return values.one_of("CONNECT", "POST")(protocol.upper())


_PACKAGE = "istio.networking.v1alpha3"
_FILES = ("client_certificate", "private_key", "ca_certificates", "ca_crl")
_TCP = "ConnectionPoolSettings.TCPSettings"
_HTTP = "ConnectionPoolSettings.HTTPSettings"
_NUMBERS = (
    f"{_TCP}.max_connections",
    f"{_HTTP}.http1_max_pending_requests",
    f"{_HTTP}.http2_max_requests",
    f"{_HTTP}.max_requests_per_connection",
    f"{_HTTP}.max_retries",
    f"{_HTTP}.max_concurrent_streams",
    "OutlierDetection.consecutive_errors",
)

FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            "DestinationRule.host": ("host", values.named_host),
            "Subset.name": ("name", dns_label),
            **{f"ClientTLSSettings.{name}": ("file", values.file) for name in _FILES},
            "ClientTLSSettings.sni": ("sni", values.header_text),
            f"{_TCP}.idle_timeout": ("duration", values.duration_or_zero),
            f"{_TCP}.TcpKeepalive.time": ("duration", values.keepalive),
            f"{_TCP}.TcpKeepalive.interval": ("duration", values.keepalive),
            f"{_TCP}.TcpKeepalive.probes": ("number", values.keepalive_probes),
            **dict.fromkeys(_NUMBERS, ("number", values.not_negative)),
            "OutlierDetection.max_ejection_percent": ("percentage", values.percent),
            "OutlierDetection.min_health_percent": ("percentage", values.percent),
            "OutlierDetection.outlier_detection_http_error_codes": (
                "status",
                values.http_status,
            ),
            "LoadBalancerSettings.ConsistentHashLB.HTTPCookie.ttl": (
                "duration",
                values.duration_or_zero,
            ),
            **{
                f"LoadBalancerSettings.ConsistentHashLB.HTTPCookie.{name}": (
                    "cookie",
                    values.header_text,
                )
                for name in ("name", "path", "Attribute.name", "Attribute.value")
            },
            "LoadBalancerSettings.ConsistentHashLB.MagLev.table_size": ("maglev", _maglev_size),
            "LoadBalancerSettings.ConsistentHashLB.http_header_name": ("header", values.token),
            "LoadBalancerSettings.ConsistentHashLB.http_query_parameter_name": (
                "query-parameter",
                values.query_parameter,
            ),
            "WarmupConfiguration.minimum_percent": ("percentage", values.percent),
            "TrafficPolicy.TunnelSettings.protocol": ("tunnel", _tunnel),
            "TrafficPolicy.TunnelSettings.target_host": ("host", values.host_or_ip),
            "TrafficPolicy.TunnelSettings.target_port": ("port", values.port),
            "TrafficPolicy.RetryBudget.percent": ("percentage", values.percent),
        },
    ),
    messages=prefixed(
        _PACKAGE,
        {
            "TrafficPolicy": _traffic_policy,
            "TrafficPolicy.PortTrafficPolicy": _port_policy,
            "ConnectionPoolSettings": _pool,
            _HTTP: _http_pool,
            f"{_HTTP}.ConnectionKeepalive": _keepalive,
            "OutlierDetection": _outliers,
            "LoadBalancerSettings": _load_balancer,
            "LoadBalancerSettings.ConsistentHashLB": _consistent_hash,
            "LoadBalancerSettings.ConsistentHashLB.HTTPCookie": _cookie,
            "WarmupConfiguration": _warmup,
            "LocalityLoadBalancerSetting": _locality,
            "ClientTLSSettings": _client_tls,
        },
    ),
    objects={"DestinationRule": _object},
    unsupported={
        f"{_PACKAGE}.LoadBalancerSettings.zone_aware_lb_setting": (
            "a proxy does not know the endpoints of its own service by zone; use localityLbSetting"
        ),
    },
    without_effect={
        f"{_PACKAGE}.TrafficPolicy.RetryBudget.budget_interval": (
            "Envoy's budget is a share of the requests that are active"
        ),
    },
)
