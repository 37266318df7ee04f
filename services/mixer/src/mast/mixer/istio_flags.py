"""The command line of Istio's `mixs server`, read as our own (mixer.md I)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_RENAMED: Mapping[str, str] = {
    "maxMessageSize": "max-message-size",
    "maxConcurrentStreams": "max-concurrent-streams",
    "configDefaultNamespace": "config-default-namespace",
    "configWaitTimeout": "config-wait-timeout",
    "livenessProbePath": "liveness-probe-path",
    "livenessProbeInterval": "liveness-probe-interval",
    "readinessProbePath": "readiness-probe-path",
    "readinessProbeInterval": "readiness-probe-interval",
    "loadsheddingMode": "loadshedding-mode",
    "averageLatencyThreshold": "average-latency-threshold",
    "latencySampleHalflife": "latency-sample-halflife",
    "latencyEnforcementThreshold": "latency-enforcement-threshold",
    "maxRequestsPerSecond": "max-requests-per-second",
    "burstSize": "burst-size",
}
_PORTS: Mapping[str, str] = {"port": "listen", "monitoringPort": "monitoring-listen"}
_DURATIONS = frozenset(
    {
        "configWaitTimeout",
        "livenessProbeInterval",
        "readinessProbeInterval",
        "averageLatencyThreshold",
        "latencySampleHalflife",
    }
)
_SWITCHES = frozenset({"singleThreaded", "profile", "useAdapterCRDs", "useTemplateCRDs"})
_WITHOUT_EFFECT: Mapping[str, str] = {
    "apiWorkerPoolSize": "calls are not run by threads",
    "adapterWorkerPoolSize": "adapters are not run by threads",
    "singleThreaded": "calls are not run by threads",
    "numCheckCacheEntries": "proxies keep verdicts",
    "latencySamplesPerSecond": "every call is a sample",
    "profile": "there is no profiler",
    "useAdapterCRDs": "adapters are read whenever there are some",
    "useTemplateCRDs": "templates are read whenever there are some",
    "configStoreURL": "configuration comes from Galley, by way of etcd",
}
_STORES = ("k8s://", "mcp://", "mcps://")


@dataclass(frozen=True, slots=True)
class Translated:
    """Our flags, and why some of Istio's do nothing, by their names."""

    flags: Sequence[str]
    without_effect: Mapping[str, str]


def translated(argv: Sequence[str]) -> Translated:
    """What follows `server`: Istio's flags become ours, which may be mixed with them.

    Ports are on the loopback, as ours are by default. Raises ValueError for values that no Mixer
    of ours can follow.
    """
    flags: list[str] = []
    without_effect: dict[str, str] = {}
    left = list(argv)
    while left:
        word = left.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        known = name in _RENAMED or name in _PORTS or name in _WITHOUT_EFFECT or name == "address"
        if not known or not word.startswith("--"):
            flags.append(word)
            continue
        if not equals and name not in _SWITCHES:
            if not left:
                raise ValueError(f"--{name}: needs a value")
            value = left.pop(0)
        if name in _WITHOUT_EFFECT:
            _refuse_other_stores(name, value)
            without_effect[name] = _WITHOUT_EFFECT[name]
        else:
            flags += _ours(name, value)
    return Translated(flags, without_effect)


def _ours(name: str, value: str) -> tuple[str, str]:
    if name == "address":
        scheme, _, place = value.rpartition("://")
        return "--listen", f"unix:{place}" if scheme == "unix" else place
    if name in _PORTS:
        return f"--{_PORTS[name]}", f"127.0.0.1:{value}"
    # Go writes no unit behind a duration of zero.
    return f"--{_RENAMED[name]}", "0s" if name in _DURATIONS and value == "0" else value


def _refuse_other_stores(name: str, value: str) -> None:
    if name == "configStoreURL" and not value.startswith(_STORES):
        raise ValueError(
            f"--{name} {value}: allowed: {', '.join(_STORES)}; give directories to Galley"
        )
