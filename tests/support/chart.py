"""The chart as Helm's own engine renders it, in this process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).parents[2] / "charts" / "mast"
PROFILES = tuple(sorted(path.stem for path in (CHART / "profiles").glob("*.yaml")))
NAMESPACE = "istio-system"

Object = dict[str, Any]


@cache
def chart() -> helm_python.Chart:
    """The chart, loaded once."""
    return helm_python.Chart.load(CHART)


def profile(name: str) -> Object:
    """The values of a profile."""
    found: Object = yaml.load((CHART / "profiles" / f"{name}.yaml").read_text(), yaml.CSafeLoader)
    return found


def texts(values: Mapping[str, Any], namespace: str = NAMESPACE) -> Mapping[str, str]:
    """What each template comes to; HelmValuesError for values that the schema refuses."""
    return chart().render(dict(values), name="mast", namespace=namespace)


def rendered(values: Mapping[str, Any] | None = None, namespace: str = NAMESPACE) -> list[Object]:
    """The objects that `helm install` would make, hooks included."""
    return list(_rendered(json.dumps(values or {}, sort_keys=True), namespace))


@cache
def _rendered(values: str, namespace: str) -> tuple[Object, ...]:
    return tuple(_objects(texts(json.loads(values), namespace)))


def _objects(found: Mapping[str, str]) -> Iterator[Object]:
    for name in sorted(found):
        if not name.endswith("NOTES.txt"):
            yield from filter(None, map(_object, re.split(r"(?m)^---\n", found[name])))


@cache
def _object(text: str) -> Object:
    """Most documents are the same for most values; nobody changes what is returned."""
    return yaml.load(text, yaml.CSafeLoader) or {}


def notes(values: Mapping[str, Any]) -> str:
    """What Helm tells after the installation."""
    return texts(values)["mast/templates/NOTES.txt"]


def set_values(path: str, value: Any) -> Object:
    """Values with one of them given, as by ``--set``; dots in names are not understood."""
    found = value
    for part in reversed(path.split(".")):
        found = {part: found}
    return {**found}


def merged(*several: Mapping[str, Any]) -> Object:
    """Values over values, as by several ``-f``."""
    result: Object = {}
    for each in several:
        for key, value in each.items():
            old = result.get(key)
            both = isinstance(old, dict) and isinstance(value, dict)
            result[key] = merged(old, value) if both else value
    return result


def name_of(found: Mapping[str, Any]) -> str:
    """``Kind/name``."""
    return f"{found['kind']}/{found['metadata']['name']}"


def named(found: list[Object], name: str) -> Object:
    """The one object ``Kind/name``."""
    (one,) = [each for each in found if name_of(each) == name]
    return one


def pods(found: list[Object]) -> Iterator[tuple[str, Object]]:
    """Pods by ``Kind/name`` of what makes them."""
    for each in found:
        spec = each.get("spec") or {}
        match each["kind"]:
            case "Deployment" | "StatefulSet" | "DaemonSet" | "Job":
                yield name_of(each), spec["template"]
            case "CronJob":
                yield name_of(each), spec["jobTemplate"]["spec"]["template"]
            case "Pod":
                yield name_of(each), each


def containers(pod: Mapping[str, Any]) -> list[Object]:
    """All of a pod."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
