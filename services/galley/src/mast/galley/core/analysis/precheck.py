"""Whether Mast can be installed in a cluster, or take over from an Istio that is there.

What it finds has Istio's codes as other analysis has; questions to a cluster are asked elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from mast.common.kinds import KINDS
from mast.galley.core.analysis import kinds, plain
from mast.galley.core.analysis.analysis import analyse
from mast.galley.core.analysis.analyzers import ANALYZERS
from mast.galley.core.analysis.snapshot import Item, Message, Snapshot

_RIGHTS, _VERSION, _DEFINITION = "IST0141", "IST0142", "IST0106"
_UNKNOWN, _CHANGED = "IST0168", "IST0169"

SINCE: Final = (1, 22)
"""The first Kubernetes with everything that is used: server-side apply is the newest of it."""

RIGHTS: Final[Sequence[tuple[str, str, bool]]] = (
    ("", "namespaces", False),
    ("rbac.authorization.k8s.io", "clusterroles", False),
    ("rbac.authorization.k8s.io", "clusterrolebindings", False),
    ("apiextensions.k8s.io", "customresourcedefinitions", False),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", False),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", False),
    ("rbac.authorization.k8s.io", "roles", True),
    ("rbac.authorization.k8s.io", "rolebindings", True),
    ("", "serviceaccounts", True),
    ("", "services", True),
    ("", "configmaps", True),
    ("", "secrets", True),
    ("apps", "deployments", True),
    ("apps", "statefulsets", True),
    ("autoscaling", "horizontalpodautoscalers", True),
    ("policy", "poddisruptionbudgets", True),
    ("networking.k8s.io", "networkpolicies", True),
)
"""What an installer creates: group, plural, and whether in the namespace of the control plane."""

FROM_1_4: Final = (
    "callers use mutual TLS with every workload that takes it (in 1.4 only where a DestinationRule"
    " says so); MeshConfig enableAutoMtls: false keeps the old way",
    "kinds of rbac.istio.io and authentication.istio.io are deprecated, and are kept",
    "ports whose names say no protocol are sniffed, in both directions",
)
"""What is otherwise than in 1.0 to 1.4 (docs/migration-from-1.4.md)."""

# Of what is analyzed as always: webhooks, and definitions of Gateway API.
_ANALYZED: Final = frozenset({"IST0139", "IST0156", "IST0172", "IST0176"})
INPUTS: Final = frozenset({kinds.CRD, kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS})

_NUMBERS = re.compile(r"v?(\d{1,5})\.(\d{1,5})")


def of_version(told: Mapping[str, Any]) -> Iterator[Message]:
    """What is wrong with a server of a version, as ``/version`` tells it."""
    text = plain.text(told, "gitVersion")
    found = _NUMBERS.match(text)
    if found is None or (int(found[1]), int(found[2])) < SINCE:
        needed = ".".join(map(str, SINCE))
        has = text or "of an unknown version"
        yield Message(_VERSION, None, f"Kubernetes {has} is not supported; want {needed} or newer")


def of_rights(missing: Iterable[tuple[str, str]]) -> Iterator[Message]:
    """Rights to create, by group and plural, that whoever asks does not have."""
    for group, plural in missing:
        what = f"{plural}.{group}" if group else plural
        yield Message(_RIGHTS, None, f"there is no right to create {what}")


def of_objects(items: Iterable[Item]) -> Iterator[Message]:
    """What is wrong with webhooks and definitions that are there (kinds of ``INPUTS``)."""
    snapshot = Snapshot(items)
    chosen = [each for each in ANALYZERS if each.codes & _ANALYZED and each.inputs <= INPUTS]
    yield from analyse(chosen, snapshot).messages
    yield from _unread(snapshot.of(kinds.CRD))


def _unread(definitions: Iterable[Item]) -> Iterator[Message]:
    """Definitions of kinds of ours that serve none of the versions which are read."""
    ours = {(each.group, each.name): each for each in KINDS}
    for item in definitions:
        spec = plain.mapping(item.body, "spec")
        kind = ours.get((plain.text(spec, "group"), plain.text(spec, "names", "kind")))
        if kind is None:
            continue
        versions = [each for each in plain.listing(spec, "versions") if plain.at(each, "served")]
        names = [plain.text(each, "name") for each in versions]
        if not set(names) & set(kind.versions):
            wanted = " or ".join(kind.versions)
            has = ", ".join(names) or "none"
            text = f"the definition serves {has}, and none of the versions that are read: {wanted}"
            yield Message(_DEFINITION, item, text, ("spec", "versions"))


def of_upgrade(version: str) -> Iterator[Message]:
    """What changes for those who come from a version of Istio."""
    found = _NUMBERS.match(version)
    if found is None:
        yield Message(_UNKNOWN, None, f"{version!r} is no version of Istio, such as 1.4.10")
    elif (int(found[1]), int(found[2])) <= (1, 4):
        for text in FROM_1_4:
            yield Message(_CHANGED, None, f"from {version}: {text}")
    elif int(found[1]) > 1:
        yield Message(_UNKNOWN, None, f"what changes from {version} is not known")
