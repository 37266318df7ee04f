"""What Helm's values say about injection (E1), each by its path."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mast.galley.core.injection.decimals import decimal
from mast.galley.core.injection.refusal import InjectionRefused, shortened

HUB: Final = "docker.io/mast"
TAG: Final = "0.1.0"
"""The release whose agent is injected unless values name another."""

_MOST: Final = 999_999

Object = dict[str, Any]
Words = tuple[str, ...]

_RESOURCES: Final[Object] = {
    "limits": {"cpu": "2000m", "memory": "1024Mi"},
    "requests": {"cpu": "100m", "memory": "128Mi"},
}


def _at(*paths: str, default: str | int | bool = "") -> Any:
    """A value by its path; of several the first that is given."""
    return field(default=default, metadata=_by(*paths))


def _by(*paths: str) -> Mapping[str, Any]:
    return {"paths": paths}


@dataclass(frozen=True, kw_only=True)
class Values:
    """Values with their defaults; ports and CIDRs are texts, as annotations have them."""

    hub: str = _at("global.hub", default=HUB)
    tag: str = _at("global.tag", default=TAG)
    variant: str = _at("global.variant")
    image: str = _at("global.proxy.image", default="agent")
    init_image: str = _at(
        "global.proxy_init.image",
    )
    pull_policy: str = _at("global.imagePullPolicy")
    pull_secrets: Words = field(default=(), metadata=_by("global.imagePullSecrets"))

    istio_namespace: str = _at("global.istioNamespace", default="istio-system")
    revision: str = _at("revision", "global.revision")
    cluster: str = _at("global.multiCluster.clusterName", default="Kubernetes")
    network: str = _at("global.network")
    mesh_id: str = _at("global.meshID")
    trust_domain: str = _at("global.trustDomain")
    ca_address: str = _at("global.caAddress")
    cert_provider: str = _at("global.pilotCertProvider", default="istiod")
    sts_port: int = _at("global.sts.servicePort", default=0)
    mounted_certs: bool = _at("global.mountMtlsCerts", default=False)

    domain: str = _at("global.proxy.clusterDomain", default="cluster.local")
    log_level: str = _at("global.proxy.logLevel", default="warning")
    component_log_level: str = _at("global.proxy.componentLogLevel", default="misc:error")
    agent_log_level: str = _at("global.logging.level", default="default:info")
    log_as_json: bool = _at("global.logAsJson", default=False)
    resources: Object = field(
        default_factory=lambda: _RESOURCES, metadata=_by("global.proxy.resources")
    )
    privileged: bool = _at("global.proxy.privileged", default=False)
    core_dump: bool = _at("global.proxy.enableCoreDump", default=False)
    seccomp: Object = field(
        default_factory=lambda: {"type": "RuntimeDefault"},
        metadata=_by("global.proxy.seccompProfile"),
    )
    hold: bool = _at("global.proxy.holdApplicationUntilProxyStarts", default=False)
    lifecycle: Object = field(default_factory=dict, metadata=_by("global.proxy.lifecycle"))
    enabled: str = _at("global.proxy.autoInject", default="enabled")

    outbound_ranges: str = _at("global.proxy.includeIPRanges", default="*")
    excluded_ranges: str = _at("global.proxy.excludeIPRanges")
    inbound_ports: str = _at("global.proxy.includeInboundPorts", default="*")
    excluded_inbound_ports: str = _at("global.proxy.excludeInboundPorts")
    outbound_ports: str = _at("global.proxy.includeOutboundPorts")
    excluded_outbound_ports: str = _at("global.proxy.excludeOutboundPorts")

    status_port: int = _at("global.proxy.statusPort", default=15020)
    readiness_delay: int = _at("global.proxy.readinessInitialDelaySeconds", default=0)
    readiness_period: int = _at("global.proxy.readinessPeriodSeconds", default=15)
    readiness_failures: int = _at("global.proxy.readinessFailureThreshold", default=4)
    startup: bool = _at("global.proxy.startupProbe.enabled", default=True)
    startup_failures: int = _at("global.proxy.startupProbe.failureThreshold", default=600)

    cni: bool = _at("pilot.cni.enabled", "istio_cni.enabled", default=False)
    native: str = _at("pilot.env.ENABLE_NATIVE_SIDECARS", default="auto")
    rewrite_probes: bool = _at("sidecarInjectorWebhook.rewriteAppHTTPProbe", default=True)
    by_default: bool = _at("sidecarInjectorWebhook.enableNamespacesByDefault", default=False)

    @classmethod
    def of(cls, helm: Mapping[str, Any]) -> Values:
        """The values in a tree of them; other values are not for injection and left alone.

        Raises InjectionRefused with every value of a wrong type.
        """
        types = typing.get_type_hints(cls)
        given: dict[str, Any] = {}
        problems = []
        for each in dataclasses.fields(cls):
            for path in reversed(each.metadata["paths"]):
                found = value_at(helm, path)
                if found is None:
                    continue
                try:
                    given[each.name] = _READERS[types[each.name]](found)
                except ValueError as error:
                    problems.append(f"value {path}: {error}")
        if problems:
            raise InjectionRefused(problems)
        return cls(**given)


def value_at(tree: Mapping[str, Any], path: str) -> Any:
    """What stands under a dotted path; None if nothing does."""
    found: Any = tree
    for part in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _text(value: Any) -> str:
    """Text; numbers are what YAML makes of tags and ports without quotes, booleans of switches."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"{shortened(str(value))} is not text")


def _whole(value: Any) -> int:
    number = decimal(_text(value), _MOST)
    if number is None:
        raise ValueError(f"{shortened(_text(value))} is not a whole number from 0 to {_MOST}")
    return number


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in {"true", "false"}:
        return bool(value == "true")
    raise ValueError(f"{shortened(str(value))} is not a boolean; allowed: true, false")


def _object(value: Any) -> Object:
    if not isinstance(value, dict):
        raise ValueError(f"{shortened(str(value))} is not an object")
    return value


def _names(value: Any) -> Words:
    """Names, or objects with a name each."""
    if not isinstance(value, list):
        raise ValueError(f"{shortened(str(value))} is not a list")
    return tuple(_text(each.get("name") if isinstance(each, dict) else each) for each in value)


_READERS: Final[Mapping[Any, Callable[[Any], Any]]] = {
    str: _text,
    int: _whole,
    bool: _switch,
    Object: _object,
    Words: _names,
}
