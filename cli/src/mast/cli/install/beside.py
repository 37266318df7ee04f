"""A second revision beside a control plane: what it shares with that, and what that must know.

etcd, Citadel, Mixer and gateways stay those of the first; Citadel has to give the second one
certificates for the names of its Services (docs/install.md, "A second revision").
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from mast.cli.install.manifests import Object, name_of
from mast.cli.install.release import Release
from mast.cli.install.values import at, merged, value_at

CITADEL: Final = "istio-citadel"
MIXERS: Final = {"istio-policy": "mixerCheckServer", "istio-telemetry": "mixerReportServer"}
NAMES: Final = "--custom-dns-names"

# What of the first one's values counts for every revision of the mesh.
_SHARED: Final = ("global", "meshConfig", "meshNetworks", "bindAddress")
_OFF: Final = ("security", "bootstrap", "dashboards", "tests", "cni")


def values(
    citadel: Object,
    first: Release | None,
    *,
    services: Collection[str],
    gateways: Iterable[str],
    namespace: str,
) -> Object:
    """Values of a second revision, by the Deployment of the first one's Citadel.

    ``first`` is the first one's release, None if it was installed by Helm; ``services`` are names
    of Services in the namespace, ``gateways`` those that the chart has.
    """
    shared = {} if first is None else _shared(first.values)
    domain = value_at(shared, "global", "proxy", "clusterDomain") or "cluster.local"
    mixers = {
        setting: f"{service}.{namespace}.svc.{domain}:15004"
        for service, setting in MIXERS.items()
        if service in services
    }
    own: Object = {
        **{name: {"enabled": False} for name in _OFF},
        "mixer": {"policy": {"enabled": False}, "telemetry": {"enabled": False}},
        "gateways": {name: {"enabled": False} for name in gateways},
        "etcd": {
            "enabled": False,
            "root": flag(citadel, "--etcd-root"),
            "external": {"endpoints": flag(citadel, "--etcd-endpoints").split(",")},
        },
        "global": {
            "trustDomain": flag(citadel, "--trust-domain"),
            "multiCluster": {"clusterName": flag(citadel, "--cluster-id")},
        },
        "meshConfig": mixers,
    }
    if first is not None and _has_cni(first.values):
        own["pilot"] = {"cni": {"enabled": True}}
    return merged(shared, own)


def flag(deployment: Mapping[str, Any], name: str) -> str:
    """What a flag of a Deployment's only container is, "" if it is not there."""
    for argument in _arguments(deployment):
        key, _, value = argument.partition("=")
        if key == name:
            return value
    return ""


def knows(citadel: Mapping[str, Any], revision: str) -> bool:
    """Whether a Citadel certifies the Services of a revision."""
    return f":istiod-{revision}." in flag(citadel, NAMES)


def told(
    first: Release, revision: str, rendered: Callable[[Release], Iterable[Object]]
) -> tuple[Release, Object] | None:
    """The first one's release with a Citadel that knows a revision, and that Deployment.

    ``rendered`` makes objects of a release's values: only the names are taken of them, so the first
    one stays at the version that it has. None if it knows already.
    """
    there = list(value_at(first.values, "security", "revisions") or ())
    if revision in there:
        return None
    return _named(first, [*there, revision], rendered)


def forgotten(
    first: Release, revision: str, rendered: Callable[[Release], Iterable[Object]]
) -> tuple[Release, Object] | None:
    """As ``told``, without the revision; None if it is not known."""
    there = list(value_at(first.values, "security", "revisions") or ())
    if revision not in there:
        return None
    return _named(first, [each for each in there if each != revision], rendered)


def is_citadel(found: Mapping[str, Any]) -> bool:
    """Whether an object of a manifest is the CA's Deployment."""
    return found["kind"] == "Deployment" and name_of(found) == CITADEL


def _named(
    first: Release, revisions: list[str], rendered: Callable[[Release], Iterable[Object]]
) -> tuple[Release, Object] | None:
    known = at(("security", "revisions"), revisions)
    changed = replace(first, values=merged(first.values, known))
    wanted = next((each for each in rendered(changed) if is_citadel(each)), None)
    if wanted is None:
        return None
    objects = copy.deepcopy(first.objects)
    citadel = next(each for each in objects if is_citadel(each))
    arguments = _arguments(citadel)
    for n, argument in enumerate(arguments):
        if argument.partition("=")[0] == NAMES:
            arguments[n] = f"{NAMES}={flag(wanted, NAMES)}"
    return replace(changed, objects=objects), citadel


def _arguments(deployment: Mapping[str, Any]) -> list[str]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    found: list[str] = container["args"]
    return found


def _shared(given: Mapping[str, Any]) -> Object:
    """The values that count for every revision; the tag of images is each one's own."""
    found = {name: copy.deepcopy(given[name]) for name in _SHARED if name in given}
    if isinstance(found.get("global"), dict):
        found["global"].pop("tag", None)
    return found


def _has_cni(given: Mapping[str, Any]) -> bool:
    places = (("cni", "enabled"), ("istio_cni", "enabled"), ("pilot", "cni", "enabled"))
    return any(value_at(given, *place) for place in places)
