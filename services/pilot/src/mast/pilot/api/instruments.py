"""Pilot's metrics, under the names that dashboards know (pilot.md M3)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mast.common import keys, kinds
from mast.common.etcd import Change
from mast.common.process.telemetry import Metrics
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, SHORT_NAMES

_LONGEST_REASON: Final = 200
_MOST_REJECTS: Final = 1000
"""Proxies and their reasons are no labels of few values, so their number is bounded."""

FAULTS: Final[Mapping[Fault, str]] = {
    Fault.INBOUND_PORT: "Services that share a workload port with another protocol",
    Fault.HTTP_OVER_TCP: "HTTP ports without a listener because of a TCP port",
    Fault.TCP_OVER_HTTP: "TCP ports without a listener because of an HTTP port",
    Fault.TCP_OVER_TCP: "TCP ports without a listener because of another TCP port",
    Fault.DUPLICATE_CLUSTER: "Clusters left out because of another one of their name",
    Fault.DUPLICATE_DOMAIN: "Domains that virtual hosts did not get",
    Fault.DUPLICATE_SUBSET: "Subsets of DestinationRules that are defined already",
    Fault.DNS_WITHOUT_ENDPOINTS: "DNS clusters left out because there is nothing to resolve",
    Fault.NO_INSTANCES: "Clusters without endpoints that take requests",
    Fault.NOT_READY: "Endpoints that are not ready",
    Fault.NO_WORKLOAD: "Endpoints whose workload is unknown",
    Fault.NO_SERVICE: "Proxies whose workload is behind no service",
    Fault.REJECTED_CONFIG: "Parts of configuration that had to be ignored",
    Fault.UNKNOWN_PROVIDER: "Extension providers whose service is unknown",
    Fault.PATCH: "Patches of EnvoyFilters left out, by the name of the EnvoyFilter",
    Fault.UNAVAILABLE_CREDENTIAL: "Secrets that are missing, unfit or not for who asks",
    Fault.HIDDEN_SERVICE: "ServiceEntry hosts hidden by another service",
    Fault.SUPERSEDED: "Objects that do not count because of an older one",
    Fault.UNKNOWN_HOST: "References to services or ports that nobody has",
    Fault.UNKNOWN_SUBSET: "References to subsets that nobody defines",
    Fault.UNKNOWN_GATEWAY: "References to Gateways that are not there",
    Fault.MISSING_DELEGATE: "Delegates that are missing or cannot be used",
    Fault.NO_FAILOVER: "Failover settings without outlier detection",
    Fault.UNREADABLE: "Stored values that cannot be read",
    Fault.PROXYLESS: "Configuration that does not count for gRPC clients without a proxy",
    Fault.UNENFORCEABLE: "Security policies of which a part cannot be enforced as written",
    Fault.MISSING_KEYS: "Rules about tokens that refuse all tokens, for want of keys",
    Fault.OLD_KEYS: "Rules about tokens whose keys could not be fetched again",
    Fault.UNUSABLE_KEYS: "Rules about tokens some of whose keys cannot be used",
    Fault.CLAIMS_WITHOUT_TOKENS: "Routes by claims at gateways that check no tokens",
}
"""What the metric of a fault counts; its value is how often it is so now."""

BUCKETS: Final[dict[str, Sequence[float]]] = {
    "pilot_xds_config_size_bytes": (1, 10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000),
    "pilot_xds_send_time": (0.01, 0.1, 1, 3, 5, 10, 20, 30),
    "pilot_debounce_time": (0.01, 0.1, 1, 3, 5, 10, 20, 30),
    "pilot_pushcontext_init_seconds": (0.01, 0.1, 0.5, 1, 3, 5),
}


_REGISTERED: Final = {
    keys.REGISTRY_SERVICES: "Services",
    keys.REGISTRY_WORKLOADS: "Pods",
    keys.REGISTRY_ENDPOINTS: "Endpoints",
    keys.TRUST: "Roots",
    keys.JWKS: "Keys",
}

Labels = tuple[tuple[str, str], ...]

_LABELLED: Final = frozenset({Fault.PATCH})
"""Faults whose metric tells the name of the object."""


class Instruments:
    """The instruments of one process."""

    def __init__(self, metrics: Metrics, version: str) -> None:
        counter, gauge, histogram = metrics.counter, metrics.gauge, metrics.histogram
        self._proxies = gauge("pilot_xds", "Number of connected clients, by their version")
        self._versions: Counter[str] = Counter()
        self.info = gauge("pilot_info", "Version of this replica")
        self.info.set(1, version=version)
        gauge("istio_build", "Version of this component").set(1, component="pilot", tag=version)
        self.uptime = gauge("istiod_uptime_seconds", "Time since this replica started")
        self.services = gauge("pilot_services", "Number of services known")
        self.virtual_services = gauge("pilot_virt_services", "Number of VirtualServices known")
        self._pushes = counter("pilot_xds_pushes", "Responses built and sent, by type")
        self._push_time = histogram("pilot_xds_push_time", "Seconds to make and send, by type")
        self.send_time = histogram("pilot_xds_send_time", "Seconds to send one response")
        self._size = histogram("pilot_xds_config_size_bytes", "Size of responses, by type")
        self.convergence = histogram(
            "pilot_proxy_convergence_time", "Seconds from a change to its sending to a proxy"
        )
        self.queue_time = histogram("pilot_proxy_queue_time", "Seconds a push waited for a proxy")
        self.debounce = histogram("pilot_debounce_time", "Seconds from a change to its push")
        self.snapshot_time = histogram(
            "pilot_pushcontext_init_seconds", "Seconds to make a snapshot"
        )
        self._triggers = counter("pilot_push_triggers", "Pushes, by what caused them")
        self._updates = counter("pilot_inbound_updates", "Changes received, by kind")
        self._configured = counter("pilot_k8s_cfg_events", "Changes of configuration, by kind")
        self._registered = counter("pilot_k8s_reg_events", "Changes of the registry, by kind")
        self._rejects = counter("pilot_total_xds_rejects", "Responses that proxies rejected")
        self._reject = {
            url: gauge(f"pilot_xds_{SHORT_NAMES[url]}_reject", "Rejected responses of this type")
            for url in (CDS, EDS, LDS, RDS)
        }
        self._rejected: dict[tuple[str, str, str], int] = {}
        self._expired = counter("pilot_xds_expired_nonce", "Requests with a stale nonce")
        self._secret_errors = counter(
            "pilot_sds_certificate_errors_total", "Secrets that proxies asked for in vain"
        )
        self.internal_errors = counter(
            "pilot_total_xds_internal_errors", "Streams that ended by a fault of Pilot"
        )
        self.write_timeouts = counter(
            "pilot_xds_write_timeout", "Streams closed because the proxy did not read"
        )
        self._faults = {each: gauge(each, text) for each, text in FAULTS.items()}
        self._series: set[tuple[Fault, Labels]] = {
            (each, ()) for each in FAULTS if each not in _LABELLED
        }
        self.found(())
        self._keys_fetched = counter(
            "pilot_jwks_resolver_network_fetch_success_total", "Key sets fetched from issuers"
        )
        self._keys_missed = counter(
            "pilot_jwks_resolver_network_fetch_fail_total", "Fetches of key sets that failed"
        )
        self.events_lost = counter("pilot_xds_events_lost", "Events that a client did not read")
        self.self_checks = counter("pilot_self_checks", "Comparisons with a fresh listing")
        self.repairs = counter("pilot_self_check_repairs", "Differences found and repaired")

    def connected(self, version: str, change: int) -> None:
        """So many more clients of a version are connected, or fewer."""
        name = version or "unknown"
        self._versions[name] += change
        self._proxies.set(self._versions[name], version=name)

    def found(self, findings: Iterable[Finding]) -> None:
        """That is wrong now, and nothing else."""
        numbers = Counter((each.fault, _labels(each)) for each in findings)
        for series in self._series - numbers.keys():
            self._set(series, 0)
        for series, number in numbers.items():
            self._set(series, number)
        self._series |= numbers.keys()

    def _set(self, series: tuple[Fault, Labels], number: int) -> None:
        fault, labels = series
        self._faults[fault].set(number, **dict(labels))

    def sent(self, type_url: str, size: int, seconds: float) -> None:
        """A response of that many bytes went out; it took so long to make and send it."""
        self._pushes.add(type=_short(type_url))
        self._size.record(size, type=_short(type_url))
        self._push_time.record(seconds, type=_short(type_url))

    def send_failed(self, type_url: str) -> None:
        """A response could not be sent."""
        self._pushes.add(type=f"{_short(type_url)}_senderr")

    def triggered(self, kind: str) -> None:
        """A push was caused by that kind of change."""
        self._triggers.add(type=kind)

    def updated(self, kind: str, changes: Sequence[Change]) -> None:
        """These changes of that kind came from the store."""
        self._updates.add(len(changes), type=kind)
        for (what, event), number in Counter(map(_event, changes)).items():
            events = self._configured if kind == "config" else self._registered
            events.add(number, type=what, event=event)

    def missed(self, secrets: int) -> None:
        """A proxy asked for so many secrets that it does not get."""
        self._secret_errors.add(secrets)

    def fetched_keys(self, success: bool) -> None:
        """A fetch of an issuer's keys has ended."""
        (self._keys_fetched if success else self._keys_missed).add()

    def expired(self, type_url: str) -> None:
        """A request carried a stale nonce."""
        self._expired.add(type=_short(type_url))

    def rejected(self, type_url: str, node: str, reason: str) -> None:
        """A proxy rejected a response."""
        self._rejects.add(type=_short(type_url))
        gauge, key = self._reject.get(type_url), (type_url, node, reason[:_LONGEST_REASON])
        if gauge is None or (key not in self._rejected and len(self._rejected) >= _MOST_REJECTS):
            return
        self._rejected[key] = self._rejected.get(key, 0) + 1
        gauge.set(self._rejected[key], node=node, err=key[2])


def _labels(finding: Finding) -> Labels:
    """What tells apart the series of a metric; most have one."""
    if finding.fault not in _LABELLED or finding.subject is None:
        return ()
    return (("name", f"{finding.subject.namespace}/{finding.subject.name}"), ("result", "error"))


def _event(change: Change) -> tuple[str, str]:
    """What changed, in Istio's words, and how."""
    event = "delete" if change.value is None else "update" if change.previous else "add"
    what = next((name for prefix, name in _REGISTERED.items() if change.key.startswith(prefix)), "")
    if what:
        return what, event
    try:
        kind = kinds.BY_COLLECTION.get(keys.parse_config_key(change.key).collection)
    except ValueError:
        kind = None
    return "other" if kind is None else kind.name, event


def _short(type_url: str) -> str:
    """A label of few values, whatever clients ask for."""
    return SHORT_NAMES.get(type_url, "other")
