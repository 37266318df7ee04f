"""Kinds of 1.0 to 1.4: what Mixer's and RBAC's objects name, and tokens on ports without HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mast.common.kinds import LEGACY_ADAPTERS, LEGACY_TEMPLATES
from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.analyzers.service_ports import protocol
from mast.galley.core.analysis.services import Port, ports
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.problem import Path

_NOT_FOUND = "IST0101"
_NOT_HTTP = "IST0119"
_CONFIG = "config.istio.io"
_HANDLERS = (f"{_CONFIG}/handler", *(f"{_CONFIG}/{each}" for each in LEGACY_ADAPTERS))
_INSTANCES = (f"{_CONFIG}/instance", *(f"{_CONFIG}/{each}" for each in LEGACY_TEMPLATES))
_HTTP = frozenset({"http", "http2", "https", "grpc", "grpc-web"})


def _actions(view: View) -> Iterator[Message]:
    handlers = set(_qualified(view, _HANDLERS))
    instances = set(_qualified(view, _INSTANCES))
    for item in view.of(kinds.MIXER_RULE):
        for index, action in enumerate(item.body.actions):
            at: Path = ("spec", "actions", index)
            if action.handler and not _known(action.handler, "handler", item, handlers):
                text = f"handler not found: {action.handler!r}"
                yield Message(_NOT_FOUND, item, text, (*at, "handler"))
            for number, name in enumerate(action.instances):
                if not _known(name, "instance", item, instances):
                    text = f"instance not found: {name!r}"
                    yield Message(_NOT_FOUND, item, text, (*at, "instances", number))


def _qualified(view: View, those: Sequence[str]) -> Iterator[str]:
    """``name.kind.namespace`` of objects, as rules refer to them (mixer.md D2)."""
    for kind in those:
        for item in view.of(kind):
            yield f"{item.name}.{kind.rpartition('/')[2]}.{item.namespace}"


def _known(name: str, kind: str, rule: Item, there: set[str]) -> bool:
    """Whether a reference names something: ``name``, ``name.kind``, ``name.namespace`` or whole."""
    first, dot, rest = name.partition(".")
    if not dot:
        return f"{name}.{kind}.{rule.namespace}" in there
    if "." in rest:
        return name in there
    return f"{first}.{rest}.{rule.namespace}" in there or f"{first}.{kind}.{rest}" in there


def _roles(view: View) -> Iterator[Message]:
    roles = {(item.namespace, item.name) for item in view.of(kinds.SERVICE_ROLE)}
    for item in view.of(kinds.SERVICE_ROLE_BINDING):
        path: Path = ("spec", "roleRef", "name")
        name = item.body.roleRef.name
        if not name:
            path, name = ("spec", "role"), item.body.role
        if name and (item.namespace, name) not in roles:
            yield Message(_NOT_FOUND, item, f"ServiceRole not found: {name!r}", path)


def _quotas(view: View) -> Iterator[Message]:
    specs = {(item.namespace, item.name) for item in view.of(kinds.QUOTA_SPEC)}
    for item in view.of(kinds.QUOTA_SPEC_BINDING):
        for index, each in enumerate(item.body.quota_specs):
            wanted = (each.namespace or item.namespace, each.name)
            if wanted not in specs:
                text = f"QuotaSpec not found: {'/'.join(wanted)!r}"
                yield Message(_NOT_FOUND, item, text, ("spec", "quotaSpecs", index, "name"))


def _tokens(view: View) -> Iterator[Message]:
    known = {(item.namespace, item.name): item for item in view.of(kinds.SERVICE)}
    for item in view.of(kinds.AUTHENTICATION_POLICY):
        wants_tokens = item.body.origins or any(each.HasField("jwt") for each in item.body.peers)
        for index, target in enumerate(item.body.targets if wants_tokens else ()):
            service = known.get((item.namespace, target.name))
            for port in ports(service) if service else ():
                if _meant(target, port) and protocol(port) not in _HTTP:
                    text = (
                        f"port {port.number} ({port.name or 'without a name'}) of Service "
                        f"{target.name} is not known to be HTTP, so no token can be seen on it"
                    )
                    yield Message(_NOT_HTTP, item, text, ("spec", "targets", index, "name"))


def _meant(target: Any, port: Port) -> bool:
    """Whether a target is for a port: one of those it names, or any."""
    if port.protocol == "UDP":
        return False
    chosen = [each.number or each.name for each in target.ports]
    return not chosen or port.number in chosen or port.name in chosen


ANALYZERS = (
    Analyzer(
        "mixer.references",
        "Handlers and instances of rules exist.",
        frozenset({_NOT_FOUND}),
        frozenset({kinds.MIXER_RULE, *_HANDLERS, *_INSTANCES}),
        _actions,
    ),
    Analyzer(
        "rbac.roles",
        "Roles that are bound exist.",
        frozenset({_NOT_FOUND}),
        frozenset({kinds.SERVICE_ROLE, kinds.SERVICE_ROLE_BINDING}),
        _roles,
    ),
    Analyzer(
        "mixer.quotas",
        "Quotas that are bound exist.",
        frozenset({_NOT_FOUND}),
        frozenset({kinds.QUOTA_SPEC, kinds.QUOTA_SPEC_BINDING}),
        _quotas,
    ),
    Analyzer(
        "authentication.ports",
        "Tokens are wanted on ports that have any.",
        frozenset({_NOT_HTTP}),
        frozenset({kinds.AUTHENTICATION_POLICY, kinds.SERVICE}),
        _tokens,
    ),
)
