"""What a pod asks of its proxy by annotations (C3), checked before anything is injected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, Final

from mast.common.process.settings import duration
from mast.galley.core.injection.decimals import PORTS, decimal
from mast.galley.core.injection.refusal import InjectionRefused, shortened
from mast.galley.core.injection.settings import Settings, proxy_config
from mast.galley.core.injection.trees import loaded, parsed

SIDECAR: Final = "sidecar.istio.io/"
TRAFFIC: Final = "traffic.sidecar.istio.io/"
READINESS: Final = "readiness.status.sidecar.istio.io/"
STATUS_PORT: Final = "status.sidecar.istio.io/port"
CONFIG: Final = "proxy.istio.io/config"
OVERRIDES: Final = "proxy.istio.io/overrides"
STATUS: Final = f"{SIDECAR}status"
TEMPLATES: Final = "inject.istio.io/templates"
MERGE_METRICS: Final = "prometheus.istio.io/merge-metrics"
REROUTE: Final = "istio.io/reroute-virtual-interfaces"

FLUSH: Final = f"{SIDECAR}statsFlushInterval"
EVICTION: Final = f"{SIDECAR}statsEvictionInterval"
MODES: Final = ("REDIRECT", "TPROXY", "NONE")
LEVELS: Final = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")
_AGENT_LEVELS: Final = ("debug", "info", "warn", "error", "fatal", "none")
_DEFAULT_FLUSH: Final = timedelta(seconds=5)
_SHORTEST_FLUSH: Final = timedelta(milliseconds=1)
_LONGEST_FLUSH: Final = timedelta(minutes=5)
_MOST: Final = 999_999
_TRUE: Final = frozenset({"true", "True", "TRUE", "t", "T", "1"})
_FALSE: Final = frozenset({"false", "False", "FALSE", "f", "F", "0"})
_QUANTITY: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][0-9]+|m|[kMGTPE]|[KMGTPE]i)?")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_.@:+-]{1,16}")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Annotations:
    """Annotations of a pod whose values were found good."""

    given: Mapping[str, str]

    def text(self, name: str, default: str = "") -> str:
        """A value as it was written; an empty one counts."""
        return self.given.get(name, default)

    def flag(self, name: str, default: bool) -> bool:
        """A boolean."""
        return self.given[name] in _TRUE if name in self.given else default

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        return int(self.given[name]) if self.given.get(name) else default

    def items(self, name: str) -> list[dict[str, Any]]:
        """Objects, given as a list of them or by name."""
        found = loaded(self.given.get(name) or "[]")
        if isinstance(found, list):
            return found
        return [{"name": name, **value} for name, value in found.items()]

    @property
    def config(self) -> dict[str, Any]:
        """The pod's own ProxyConfig."""
        return proxy_config(parsed(self.given.get(CONFIG, "")) or {}, f"annotation {CONFIG}")

    def templates(self, settings: Settings) -> tuple[str, ...]:
        """The templates the pod asks for, aliases resolved; else those of the mesh."""
        asked = _listed(self.given.get(TEMPLATES, ""))
        names = tuple(asked) or settings.default_templates
        return tuple(own for name in names for own in settings.aliases.get(name, (name,)))


def checked(given: Mapping[str, Any], settings: Settings) -> Annotations:
    """The annotations of a pod; InjectionRefused names every bad value and what is allowed (C3)."""
    problems = [
        f"annotation {name}: {shortened(str(value))} is not text"
        for name, value in given.items()
        if not isinstance(value, str)
    ]
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    for name, rule in RULES.items():
        if name in texts and (problem := rule(texts[name])):
            problems.append(f"annotation {name}: {problem}")
    problems += _intervals(texts)
    problems += [
        f"annotation {TEMPLATES}: there is no template {shortened(name)}; "
        f"there are {', '.join(sorted(settings.known_templates))}"
        for name in _listed(texts.get(TEMPLATES, ""))
        if name not in settings.known_templates
    ]
    try:
        Annotations(texts).config  # noqa: B018 - reading is the check
    except InjectionRefused as error:
        problems += error.problems
    except ValueError as error:
        problems.append(f"annotation {CONFIG}: {error}")
    if problems:
        raise InjectionRefused(problems)
    return Annotations(texts)


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


Rule = Callable[[str], str]
"""What is wrong with a value and what is allowed; empty if nothing is."""


def _boolean(text: str) -> str:
    return "" if text in _TRUE | _FALSE else f"{shortened(text)}; allowed: true, false"


def _number(text: str) -> str:
    good = decimal(text, _MOST) is not None
    return "" if good else f"{shortened(text)}; allowed: whole numbers from 0 to {_MOST}"


def _port(text: str) -> str:
    good = decimal(text, PORTS) is not None
    return "" if good else f"{shortened(text)}; allowed: a port, or 0 for none"


def _ports(text: str) -> str:
    bad = [each for each in _listed(text) if not decimal(each, PORTS)]
    return f"{shortened(bad[0])}; allowed: ports, 1 to 65535, with commas" if bad else ""


def _ports_or_all(text: str) -> str:
    return "" if text == "*" else _ports(text).replace("allowed:", "allowed: *, or")


def _ranges(text: str) -> str:
    if text == "*":
        return ""
    for each in _listed(text):
        try:
            ip_network(each, strict=False)
        except ValueError:
            return f"{shortened(each)}; allowed: *, or CIDRs with commas"
    return ""


def _interfaces(text: str) -> str:
    bad = [each for each in _listed(text) if not _INTERFACE.fullmatch(each)]
    return f"{shortened(bad[0])}; allowed: names of interfaces with commas" if bad else ""


def _one_of(*allowed: str) -> Rule:
    def rule(text: str) -> str:
        return "" if text in allowed else f"{shortened(text)}; allowed: {', '.join(allowed)}"

    return rule


def _like(pattern: re.Pattern[str], what: str) -> Rule:
    def rule(text: str) -> str:
        return "" if pattern.fullmatch(text) else f"{shortened(text)}; allowed: {what}"

    return rule


def _levels(allowed: tuple[str, ...], *, plain: bool) -> Rule:
    """``component:level`` with commas; where ``plain``, levels alone, too."""

    def rule(text: str) -> str:
        for each in _listed(text):
            component, colon, level = each.rpartition(":")
            if level not in allowed or (not plain and not component) or (colon and not component):
                shape = "level or component:level" if plain else "component:level"
                return f"{shortened(each)}; allowed: {shape}, level one of {', '.join(allowed)}"
        return ""

    return rule


def _named_objects(text: str) -> str:
    wanted = "allowed: JSON, a list of objects with a name each, or objects by name"
    try:
        found = loaded(text)
    except ValueError as error:
        return f"no JSON ({error}); {wanted}"
    items = [{"name": k, **v} if isinstance(v, dict) else v for k, v in found.items()] if (
        isinstance(found, dict)) else found  # fmt: skip
    if not isinstance(items, list) or not all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in items
    ):
        return f"{shortened(text)}; {wanted}"
    return ""


def _mounts(text: str) -> str:
    if problem := _named_objects(text):
        return problem
    lacking = [each for each in Annotations({"": text}).items("") if not each.get("mountPath")]
    return f"mount {lacking[0]['name']!r} lacks a mountPath" if lacking else ""


def _containers(text: str) -> str:
    """What an earlier injection kept of the user's containers."""
    try:
        found = loaded(text)
    except ValueError as error:
        return f"no JSON ({error}); it is written by the injector"
    groups = [*found.values()] if isinstance(found, dict) else [None]
    good = all(
        isinstance(group, list) and all(isinstance(each, dict) and "name" in each for each in group)
        for group in groups
    )
    return "" if good else f"{shortened(text)}; it is written by the injector"


def _status(text: str) -> str:
    """What an earlier injection says it added."""
    try:
        found = loaded(text)
    except ValueError as error:
        return f"no JSON ({error}); it is written by the injector"
    if not isinstance(found, dict):
        return f"{shortened(text)}; it is written by the injector"
    lists = [value for name, value in found.items() if name != "revision" and value is not None]
    good = all(isinstance(e, list) and all(isinstance(t, str) for t in e) for e in lists)
    return "" if good else f"{shortened(text)}; it is written by the injector"


def _buckets(text: str) -> str:
    wanted = 'allowed: JSON, lists of numbers by prefix, such as {"istio": [1, 5, 10]}'
    try:
        found = loaded(text)
    except ValueError as error:
        return f"no JSON ({error}); {wanted}"
    good = isinstance(found, dict) and all(
        isinstance(each, list) and all(type(n) in {int, float} for n in each)
        for each in found.values()
    )
    return "" if good else f"{shortened(text)}; {wanted}"


def _interval(text: str) -> str:
    try:
        return "" if duration(text) else f"{shortened(text)}; allowed: more than 0"
    except ValueError as error:
        return str(error)


def _intervals(texts: Mapping[str, str]) -> Iterator[str]:
    """Envoy would not start with others (its Bootstrap, "stats_flush_interval")."""
    flush = _length(texts, FLUSH) or _DEFAULT_FLUSH
    if not _SHORTEST_FLUSH <= flush < _LONGEST_FLUSH:
        yield f"annotation {FLUSH}: {texts[FLUSH]!r}; allowed: from 1ms, less than 5m"
    elif (_length(texts, EVICTION) or flush) % flush:
        seconds = f"{flush.total_seconds():g}s"
        yield f"annotation {EVICTION}: {texts[EVICTION]!r}; allowed: multiples of {seconds}"


def _length(texts: Mapping[str, str], name: str) -> timedelta | None:
    return None if _interval(texts.get(name, "0s")) else duration(texts[name])


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text)
    good = match is not None and decimal(match[2], PORTS)
    return "" if good else f"{shortened(text)}; allowed: HOST:PORT"


_QUANTITIES = _like(_QUANTITY, "a quantity such as 100m or 128Mi")

RULES: Final[Mapping[str, Rule]] = {
    STATUS: _status,
    OVERRIDES: _containers,
    f"{SIDECAR}rewriteAppHTTPProbers": _boolean,
    f"{SIDECAR}capNetBindService": _boolean,
    f"{SIDECAR}nativeSidecar": _boolean,
    f"{SIDECAR}statsCompression": _boolean,
    f"{SIDECAR}proxyImage": _like(_IMAGE, "an image, with or without registry and tag"),
    f"{SIDECAR}proxyImageType": _like(_TAG, "default, debug, distroless or the end of a tag"),
    f"{SIDECAR}proxyCPU": _QUANTITIES,
    f"{SIDECAR}proxyCPULimit": _QUANTITIES,
    f"{SIDECAR}proxyMemory": _QUANTITIES,
    f"{SIDECAR}proxyMemoryLimit": _QUANTITIES,
    f"{SIDECAR}interceptionMode": _one_of(*MODES),
    f"{SIDECAR}bootstrapOverride": _like(_NAME, "the name of a ConfigMap"),
    f"{SIDECAR}logLevel": _levels(LEVELS, plain=True),
    f"{SIDECAR}componentLogLevel": _levels(LEVELS, plain=False),
    f"{SIDECAR}agentLogLevel": _levels(_AGENT_LEVELS, plain=True),
    f"{SIDECAR}userVolume": _named_objects,
    f"{SIDECAR}userVolumeMount": _mounts,
    FLUSH: _interval,
    EVICTION: _interval,
    f"{SIDECAR}statsHistogramBuckets": _buckets,
    f"{SIDECAR}discoveryAddress": _address,
    f"{TRAFFIC}includeOutboundIPRanges": _ranges,
    f"{TRAFFIC}excludeOutboundIPRanges": _ranges,
    f"{TRAFFIC}includeInboundPorts": _ports_or_all,
    f"{TRAFFIC}excludeInboundPorts": _ports,
    f"{TRAFFIC}includeOutboundPorts": _ports,
    f"{TRAFFIC}excludeOutboundPorts": _ports,
    f"{TRAFFIC}excludeInterfaces": _interfaces,
    f"{TRAFFIC}kubevirtInterfaces": _interfaces,
    REROUTE: _interfaces,
    STATUS_PORT: _port,
    f"{READINESS}initialDelaySeconds": _number,
    f"{READINESS}periodSeconds": _number,
    f"{READINESS}failureThreshold": _number,
    f"{READINESS}applicationPorts": _ports,
    MERGE_METRICS: _boolean,
}
"""What is judged by its value alone; templates and ``proxy.istio.io/config`` are judged apart."""
