"""The plugin's place in the node's network configuration (CNI specification 1.0, section 1)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

Conf = dict[str, Any]

PLUGIN: Final = "mast-cni"
"""The name of the program, and so the type of its entry."""

LISTS, SINGLE = (".conflist",), (".conf", ".json")
_LOWEST: Final = "0.3.1"


class BadConf(ValueError):
    """A file that is no network configuration; says why."""


def chosen(names: Iterable[str]) -> str:
    """The file that the runtime takes, which is the first by name; "" if there is none."""
    fitting = (name for name in names if name.endswith((*LISTS, *SINGLE)))
    return min((name for name in fitting if not name.startswith(".")), default="")


def name_of_list(name: str) -> str:
    """What a file is called as a list of plugins."""
    return name if name.endswith(LISTS) else f"{name.rpartition('.')[0]}.conflist"


def parsed(text: str) -> Conf:
    """A list of plugins; that of a single plugin is made one. Raises BadConf."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadConf(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadConf("not an object")
    if "plugins" in found:
        plugins = found["plugins"]
        if not isinstance(plugins, list) or not all(isinstance(p, dict) for p in plugins):
            raise BadConf("plugins: not a list of objects")
        return found
    if not isinstance(found.get("type"), str):
        raise BadConf("neither plugins nor the type of one")
    version = found.pop("cniVersion", _LOWEST)
    name = found.pop("name", "k8s-pod-network")
    return {"name": name, "cniVersion": version, "plugins": [found]}


def with_plugin(found: Conf, entry: Mapping[str, Any]) -> Conf:
    """The list with our entry as its last one, once."""
    others = without_plugin(found)["plugins"]
    return {**found, "plugins": [*others, dict(entry)]}


def without_plugin(found: Conf) -> Conf:
    """The list without our entry."""
    kept = [each for each in found["plugins"] if each.get("type") != PLUGIN]
    return {**found, "plugins": kept}


def text_of(found: Conf) -> str:
    """The file of a list."""
    return json.dumps(found, indent=2) + "\n"
