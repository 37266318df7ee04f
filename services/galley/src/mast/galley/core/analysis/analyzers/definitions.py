"""Definitions of Gateway API in a cluster: releases that do not go with what is read here."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.snapshot import Message, View

_UNSUPPORTED, _OLD, _NEW = "IST0156", "IST0176", "IST0172"
_VERSION = "gateway.networking.k8s.io/bundle-version"
_GROUP = ".gateway.networking.k8s.io"
_RELEASE = re.compile(r"v([0-9]{1,5})\.([0-9]{1,5})\.[0-9]{1,5}(?:-.*)?")

# The first release with version v1 of Gateway and HTTPRoute, and the first with GRPCRoute v1.
_FIRST_SUPPORTED, _FIRST_WHOLE = (1, 0), (1, 1)
# The newest release whose kinds are read (docs/gateway-api.md).
_NEWEST_KNOWN = (1, 5)


def _releases(view: View) -> Iterator[Message]:
    for item in view.of(kinds.CRD):
        text = item.annotations.get(_VERSION, "")
        if not item.name.endswith(_GROUP) or not text:
            continue
        found = _RELEASE.fullmatch(text)
        path = ("metadata", "annotations", _VERSION)
        if found is None:
            yield Message(_UNSUPPORTED, item, f"{text!r} is no release of Gateway API", path)
            continue
        release = (int(found[1]), int(found[2]))
        if release < _FIRST_SUPPORTED:
            said = f"release {text} of Gateway API is not supported; install {_shown(_FIRST_WHOLE)}"
            yield Message(_UNSUPPORTED, item, said, path)
        elif release < _FIRST_WHOLE:
            said = f"release {text} of Gateway API lacks kinds; install {_shown(_FIRST_WHOLE)}"
            yield Message(_OLD, item, said, path)
        elif release > _NEWEST_KNOWN:
            said = f"release {text} of Gateway API is newer than {_shown(_NEWEST_KNOWN)}"
            yield Message(_NEW, item, said, path)


def _shown(release: tuple[int, int]) -> str:
    return "v" + ".".join(map(str, release))


ANALYZERS = (
    Analyzer(
        "gatewayapi.release",
        "Definitions of Gateway API are of a release that is understood.",
        frozenset({_UNSUPPORTED, _OLD, _NEW}),
        frozenset({kinds.CRD}),
        _releases,
    ),
)
