"""Tokens: claims that routes look at are checked by somebody, and keys are fetched with care."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mast.galley.core.analysis import kinds, plain, workloads
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.gateways import GATEWAYS
from mast.galley.core.analysis.mesh import MESH
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.analysis.workloads import WORKLOADS, Workloads
from mast.galley.core.problem import Path

_UNCHECKED = "IST0149"
_UNRESTRICTED = "IST0175"
_CLAIMS = "@request.auth.claims"
_BLOCKED = frozenset({"BLOCKED_CIDRS_IN_JWKS_URIS", "PILOT_BLOCKED_CIDRS_IN_JWKS_URIS"})
_CONTROL_PLANES = frozenset({("app", "istiod"), ("istio", "pilot"), ("app", "mast-pilot")})


def _claims(view: View) -> Iterator[Message]:
    known, running = view.fact(GATEWAYS), view.fact(WORKLOADS)
    root = view.fact(MESH).root_namespace
    checks = view.of(kinds.REQUEST_AUTHENTICATION)
    for item in view.of(kinds.VIRTUAL_SERVICE):
        gateways = [known.named(name, item.namespace) for name in item.body.gateways]
        for path, key in _matches(item.body):
            for gateway in gateways:
                if gateway is None or any(_checks(c, gateway, running, root) for c in checks):
                    continue
                text = (
                    f"{key!r} is matched at Gateway {gateway.namespace}/{gateway.name}, where no "
                    "RequestAuthentication checks tokens"
                )
                yield Message(_UNCHECKED, item, text, path)


def _matches(spec: Any) -> Iterator[tuple[Path, str]]:
    for index, route in enumerate(spec.http):
        for number, match in enumerate(route.match):
            at = ("spec", "http", index, "match", number)
            for field, keys in (
                ("headers", match.headers),
                ("withoutHeaders", match.without_headers),
            ):
                for key in sorted(keys):
                    if key.startswith(_CLAIMS):
                        yield (*at, field, key), key


def _checks(policy: Item, gateway: Item, running: Workloads, root: str) -> bool:
    """Whether a policy holds at workloads of a gateway; if none are known, by their labels."""
    for reference in (policy.body.targetRef, *policy.body.targetRefs):
        if reference.name:
            return False
    wanted = dict(policy.body.selector.match_labels)
    selector = dict(gateway.body.selector)
    served = list(running.selected(selector))
    if not served:
        return policy.namespace in {root, gateway.namespace} and (
            wanted.items() <= selector.items()
        )
    return any(
        policy.namespace in {root, each.namespace} and wanted.items() <= each.labels.items()
        for each in served
    )


def _fetching(view: View) -> Iterator[Message]:
    """Where the control plane itself can be looked at, it says which networks it never calls."""
    planes = [
        each
        for each in view.of(kinds.DEPLOYMENT)
        if _CONTROL_PLANES & each.labels.items() and not _restricted(each)
    ]
    for item in view.of(kinds.REQUEST_AUTHENTICATION) if planes else ():
        for index, rule in enumerate(item.body.jwt_rules):
            if rule.jwks_uri and not rule.jwks:
                text = (
                    f"keys are fetched from {rule.jwks_uri!r} by {planes[0].origin}, which does "
                    "not set BLOCKED_CIDRS_IN_JWKS_URIS"
                )
                path = ("spec", "jwtRules", index, "jwksUri")
                yield Message(_UNRESTRICTED, item, text, path)


def _restricted(deployment: Item) -> bool:
    containers = plain.listing(deployment.body, "spec", "template", "spec", "containers")
    return any(
        plain.text(variable, "name") in _BLOCKED and plain.text(variable, "value")
        for container in containers
        for variable in plain.listing(container, "env")
    )


ANALYZERS = (
    Analyzer(
        "token.claims",
        "Claims that routes look at are of tokens that are checked.",
        frozenset({_UNCHECKED}),
        frozenset(
            {
                kinds.VIRTUAL_SERVICE,
                kinds.GATEWAY,
                kinds.REQUEST_AUTHENTICATION,
                kinds.MESH_CONFIG,
            }
        )
        | workloads.KINDS,
        _claims,
    ),
    Analyzer(
        "token.keys",
        "The control plane does not fetch keys from just anywhere.",
        frozenset({_UNRESTRICTED}),
        frozenset({kinds.REQUEST_AUTHENTICATION, kinds.DEPLOYMENT}),
        _fetching,
    ),
)
