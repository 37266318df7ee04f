"""Probes and hooks of programs, made by the agent: the kubelet has no certificate (C2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mast.galley.core.injection.decimals import PORTS, decimal
from mast.galley.core.injection.refusal import InjectionRefused, shortened
from mast.galley.core.injection.site import PROXY
from mast.galley.core.injection.trees import loaded

Object = dict[str, Any]

VARIABLE: Final = "ISTIO_KUBE_APP_PROBERS"
_PROBES: Final = {
    "readinessProbe": "readyz",
    "livenessProbe": "livez",
    "startupProbe": "startupz",
}
_HOOKS: Final = {"preStop": "prestopz", "postStart": "poststartz"}
_ACTIONS: Final = ("httpGet", "tcpSocket", "grpc")


def rewritten(pod: Object, port: int) -> tuple[Object, Object]:
    """The pod with probes and hooks that ask the agent, and the originals by the agent's paths.

    Their ports are resolved. What asks another host than the pod stays, and so do commands, sleeps
    and ports that the container does not name.
    """
    originals: Object = {}
    spec = dict(pod["spec"])
    for group in ("containers", "initContainers"):
        if group in spec:
            spec[group] = [_container(each, port, originals) for each in spec[group]]
    return {**pod, "spec": spec}, originals


def _container(container: Object, port: int, originals: Object) -> Object:
    """An init container has probes only if it stays; then they are rewritten as well."""
    if container.get("name") == PROXY:
        return container
    result = dict(container)
    for field, path, action in _asking(container):
        original = _original(container, action)
        if original is None:
            continue
        originals[path] = original
        _put(result, field, _rewritten(action, path, port))
    return result


def _asking(container: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str, Object]]:
    """Probes and hooks: where they stand, the agent's path for them, what they say."""
    name = container.get("name")
    for field, last in _PROBES.items():
        if isinstance(found := container.get(field), dict):
            yield (field,), f"/app-health/{name}/{last}", found
    hooks = container.get("lifecycle")
    for field, last in _HOOKS.items():
        if isinstance(hooks, dict) and isinstance(found := hooks.get(field), dict):
            yield ("lifecycle", field), f"/app-lifecycle/{name}/{last}", found


def _put(container: Object, field: tuple[str, ...], value: Object) -> None:
    if len(field) == 1:
        container[field[0]] = value
    else:
        container[field[0]] = {**container[field[0]], field[1]: value}


def _original(container: Mapping[str, Any], probe: Mapping[str, Any]) -> Object | None:
    """What the agent is to do instead of the kubelet; None: the kubelet can go on doing it."""
    kind = next((each for each in _ACTIONS if isinstance(probe.get(each), dict)), None)
    if kind is None or probe[kind].get("host"):
        return None
    number = _port(container, probe[kind].get("port"))
    if number is None:
        return None
    timeout = {"timeoutSeconds": probe["timeoutSeconds"]} if probe.get("timeoutSeconds") else {}
    return {kind: {**probe[kind], "port": number}, **timeout}


def _port(container: Mapping[str, Any], port: Any) -> int | None:
    """A port by its number or by the name that the container gives it."""
    text = str(port)
    if number := decimal(text, PORTS):
        return number
    named = (each for each in container.get("ports") or () if each.get("name") == text)
    return next((each.get("containerPort") for each in named), None)


def _rewritten(probe: Mapping[str, Any], path: str, port: int) -> Object:
    """Its times and thresholds stay."""
    rest = {key: value for key, value in probe.items() if key not in _ACTIONS}
    return {"httpGet": {"path": path, "port": port}, **rest}


def restored(container: Object, originals: Mapping[str, Any]) -> Object:
    """A container with its own probes and hooks again, of those that an earlier injection kept."""
    result = dict(container)
    for field, path, probe in _asking(container):
        kept = originals.get(path)
        asked = probe.get("httpGet")
        if not isinstance(kept, dict) or not isinstance(asked, dict) or asked.get("path") != path:
            continue
        rest = {key: value for key, value in probe.items() if key != "httpGet"}
        action = {key: value for key, value in kept.items() if key in _ACTIONS}
        _put(result, field, {**action, **rest})
    return result


def kept(text: str) -> Object:
    """The originals in the variable; InjectionRefused if it is not the injector's."""
    try:
        found = loaded(text or "{}")
    except ValueError as error:
        raise InjectionRefused([f"variable {VARIABLE}: no JSON: {error}"]) from error
    if not isinstance(found, dict):
        raise InjectionRefused([f"variable {VARIABLE}: {shortened(text)} is not an object"])
    return found
