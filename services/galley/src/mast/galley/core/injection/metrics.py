"""Metrics of program and proxy on one page: the annotations by which Prometheus finds it (C2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mast.galley.core.injection.annotations import MERGE_METRICS
from mast.galley.core.injection.decimals import PORTS, decimal
from mast.galley.core.injection.refusal import InjectionRefused, shortened
from mast.galley.core.injection.site import Site
from mast.galley.core.injection.trees import loaded

Object = dict[str, Any]

VARIABLE: Final = "ISTIO_PROMETHEUS_ANNOTATIONS"
PAGE: Final = "/stats/prometheus"
_SCRAPE: Final = "prometheus.io/scrape"
_PORT: Final = "prometheus.io/port"
_PATH: Final = "prometheus.io/path"
_NAMES: Final = {"scrape": _SCRAPE, "port": _PORT, "path": _PATH}
MESH_PORTS: Final = frozenset({15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090})


def merged_page(site: Site) -> tuple[Mapping[str, str], str]:
    """Annotations for the merged page, and what the agent has to know of the program's own.

    None and "" where nothing is merged: if mesh or pod say so, if the pod wants no scraping, or if
    it names a port of the mesh. InjectionRefused for a port that is none.
    """
    given = site.annotations.given
    mesh = site.settings.mesh.get("enablePrometheusMerge", True)
    wanted = site.annotations.flag(MERGE_METRICS, bool(mesh))
    if not wanted or not site.status_port or given.get(_SCRAPE) == "false":
        return {}, ""
    port = given.get(_PORT, "")
    if port and not decimal(port, PORTS):
        raise InjectionRefused([f"annotation {_PORT}: {shortened(port)}; allowed: 1 to 65535"])
    page = {_SCRAPE: "true", _PORT: str(site.status_port), _PATH: PAGE}
    if port and int(port) == site.status_port:
        return page, ""
    if port and int(port) in MESH_PORTS:
        return {}, ""
    own = {key: given[name] for key, name in _NAMES.items() if name in given}
    text = json.dumps(own, sort_keys=True, separators=(",", ":")) if own else ""
    return page, text


def own_annotations(variable: str) -> Mapping[str, str]:
    """The program's annotations, of what an earlier injection told the agent of them."""
    try:
        own = loaded(variable or "{}")
    except ValueError as error:
        raise InjectionRefused([f"variable {VARIABLE}: no JSON: {error}"]) from error
    if not isinstance(own, dict):
        raise InjectionRefused([f"variable {VARIABLE}: {shortened(variable)} is not an object"])
    return {name: str(own[key]) for key, name in _NAMES.items() if key in own}
