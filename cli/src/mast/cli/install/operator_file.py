"""IstioOperator files as values of the chart: what of them there is a value for.

Fields are those of Istio's "IstioOperator Options"; everything else is refused by its path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

from mast.cli.install.manifests import Object
from mast.cli.install.values import at, merged

# What only an IstioOperator has: in --set it is no value of the chart.
ONLY_THERE: Final = ("profile", "values", "components", "hub", "tag")

_SPEC: Final = ("profile", "revision", "hub", "tag", "meshConfig", "values", "components")
# Components by the place of their values.
_COMPONENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "pilot": ("pilot",),
    "galley": ("galley",),
    "citadel": ("security",),
    "policy": ("mixer", "policy"),
    "telemetry": ("mixer", "telemetry"),
    "sidecarInjector": ("sidecarInjectorWebhook",),
    "cni": ("cni",),
    "istiodRemote": ("istiodRemote",),
}
_GATEWAYS: Final = {
    "ingressGateways": ("istio-ingressgateway", "istio-ilbgateway"),
    "egressGateways": ("istio-egressgateway",),
}
_SCALED: Final = frozenset({"pilot", "galley", "citadel", "policy", "telemetry", *_GATEWAYS})
# Fields of k8s of what can be scaled: those that values are called by as well, and others.
_SAME: Final = (
    "resources", "replicaCount", "nodeSelector", "tolerations", "affinity", "podAnnotations",
)  # fmt: skip
_OTHERWISE: Final = ("env", "hpaSpec", "strategy")
_OF_GATEWAYS: Final = ("service", "serviceAnnotations")
_SERVICE: Final = (
    "type", "ports", "loadBalancerIP", "externalTrafficPolicy", "loadBalancerSourceRanges",
)  # fmt: skip


class NotMapped(Exception):
    """A field that there is no value for; says which, and what is allowed."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)


def is_one(document: Mapping[str, Any]) -> bool:
    """Whether a document is an IstioOperator."""
    return document.get("kind") == "IstioOperator"


def mapped(spec: Any) -> tuple[str, Object]:
    """The profile, "" if none is named, and the values of an IstioOperator's ``spec``.

    What components say lies over ``values``. Raises NotMapped.
    """
    fields = _fields(spec, "", _SPEC)
    profile = fields.get("profile") or ""
    if not isinstance(profile, str):
        raise NotMapped("profile", f"{profile!r}; want the name of a profile")
    parts = [dict(_mapping(fields.get("values"), "values"))]
    parts += [at(("global", name), fields[name]) for name in ("hub", "tag") if name in fields]
    parts += [at((name,), fields[name]) for name in ("revision", "meshConfig") if name in fields]
    components = _mapping(fields.get("components"), "components")
    parts += [_component(name, given) for name, given in components.items()]
    return profile, reduce(merged, parts)


def _component(name: str, given: Any) -> Object:
    path = f"components.{name}"
    if name == "base":
        if _fields(given, path, ("enabled",)).get("enabled") is False:
            raise NotMapped(f"{path}.enabled", "false; definitions of kinds are always there")
        return {}
    if name in _GATEWAYS:
        if not isinstance(given, list):
            raise NotMapped(path, "want a list of gateways")
        each = (_gateway(name, item, f"{path}[{n}]") for n, item in enumerate(given))
        return reduce(merged, each, {})
    if name not in _COMPONENTS:
        known = ", ".join(sorted({"base", *_COMPONENTS, *_GATEWAYS}))
        raise NotMapped(path, f"there is no such component; want one of {known}")
    fields = _fields(given, path, ("enabled", "k8s"))
    return at(_COMPONENTS[name], _settings(name, fields, path))


def _gateway(kind: str, given: Any, path: str) -> Object:
    fields = _fields(given, path, ("name", "enabled", "label", "k8s"))
    name, names = fields.get("name"), _GATEWAYS[kind]
    if name not in names:
        raise NotMapped(f"{path}.name", f"{name!r}; want one of {', '.join(names)}")
    found = _settings(kind, fields, path)
    labels = {"labels": fields["label"]} if "label" in fields else {}
    return at(("gateways", str(name)), merged(found, labels))


def _settings(name: str, fields: Mapping[str, Any], path: str) -> Object:
    """Whether a component is there, and its settings of Kubernetes by values of that meaning."""
    found: Object = {}
    if "enabled" in fields:
        if not isinstance(fields["enabled"], bool):
            raise NotMapped(f"{path}.enabled", f"{fields['enabled']!r}; want true or false")
        found["enabled"] = fields["enabled"]
    allowed: tuple[str, ...] = ("resources",) if name == "cni" else ()
    if name in _SCALED:
        allowed = (*_SAME, *_OTHERWISE)
        allowed += _OF_GATEWAYS if name in _GATEWAYS else ()
    for key, value in _fields(fields.get("k8s"), f"{path}.k8s", allowed).items():
        setting = _READERS.get(key)
        read = {key: value} if setting is None else setting(value, f"{path}.k8s.{key}")
        found = merged(found, read)
    return found


def _env(value: Any, path: str) -> Object:
    if not isinstance(value, list):
        raise NotMapped(path, "want a list of names and values")
    each = [_fields(item, f"{path}[{n}]", ("name", "value")) for n, item in enumerate(value)]
    return {"env": {str(item.get("name", "")): item.get("value", "") for item in each}}


def _autoscaling(value: Any, path: str) -> Object:
    fields = _fields(value, path, ("minReplicas", "maxReplicas", "metrics"))
    found = _renamed(fields, {"minReplicas": "autoscaleMin", "maxReplicas": "autoscaleMax"})
    if "metrics" in fields:
        found["cpu"] = {"targetAverageUtilization": _utilization(fields["metrics"], path)}
    return found


def _utilization(metrics: Any, path: str) -> Any:
    """The share of the CPU, as autoscaling/v2 or v2beta1 has it."""
    match metrics:
        case [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]:
            if isinstance(target, Mapping) and target.keys() <= {"type", "averageUtilization"}:
                return target.get("averageUtilization")
        case [{"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": share}}]:
            return share
    raise NotMapped(f"{path}.metrics", "want one Resource, cpu, with averageUtilization")


def _strategy(value: Any, path: str) -> Object:
    fields = _fields(value, path, ("type", "rollingUpdate"))
    if fields.get("type", "RollingUpdate") != "RollingUpdate":
        raise NotMapped(f"{path}.type", f"{fields['type']!r}; want RollingUpdate")
    names = {"maxSurge": "rollingMaxSurge", "maxUnavailable": "rollingMaxUnavailable"}
    rolling = _fields(fields.get("rollingUpdate"), f"{path}.rollingUpdate", tuple(names))
    return _renamed(rolling, names)


def _service(value: Any, path: str) -> Object:
    return dict(_fields(value, path, _SERVICE))


_READERS: Final[Mapping[str, Callable[[Any, str], Object]]] = {
    "env": _env,
    "hpaSpec": _autoscaling,
    "strategy": _strategy,
    "service": _service,
}


def _renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> Object:
    return {name: fields[key] for key, name in names.items() if key in fields}


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise NotMapped(path, f"{value!r}; want fields")
    return value


def _fields(value: Any, path: str, allowed: Sequence[str]) -> Mapping[str, Any]:
    """A mapping with no other fields than those."""
    found = _mapping(value, path)
    for name in found:
        if name not in allowed:
            told = ", ".join(allowed) or "nothing"
            inner = f"{path}.{name}" if path else str(name)
            raise NotMapped(inner, f"there is no value for it; allowed here: {told}")
    return found
