"""Webhooks: injectors that overlap or lead nowhere, and addresses of a control plane elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import combinations, product
from typing import Any
from urllib.parse import urlsplit

from mast.galley.core.analysis import kinds, plain
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.injectors import INJECT, INJECTION, INJECTORS, REVISION, Injector
from mast.galley.core.analysis.snapshot import Item, Message, View

_INVALID = "IST0139"
_NO_ADDRESS, _NO_NAME = "IST0163", "IST0164"
_PREFIXES = ("istio-sidecar-injector", "istio-validator", "istiod-default-validator")
_NOBODY = "no-such-revision"


def _dangling(view: View) -> Iterator[Message]:
    known = {(item.namespace, item.name) for item in view.of(kinds.SERVICE)}
    for injector in view.fact(INJECTORS):
        if injector.item is not None and injector.service and injector.service not in known:
            name = "/".join(injector.service)
            text = f"webhook {injector.name!r} leads to Service {name}, which is not there"
            path = (*injector.at, "clientConfig", "service")
            yield Message(_INVALID, injector.item, text, path)


def _overlaps(view: View) -> Iterator[Message]:
    """Two injectors that take one pod: which of them comes first is not said."""
    injectors = view.fact(INJECTORS)
    samples = list(_samples(injectors))
    for one, other in combinations(injectors, 2):
        if one.item is None or other.item is None:
            continue
        both = next((s for s in samples if one.takes(*s) and other.takes(*s)), None)
        if both is None:
            continue
        namespace, pod = (_shown(labels) for labels in both)
        where = f"pods with {pod} in namespaces with {namespace}"
        for mine, its in ((one, other), (other, one)):
            name = f"{its.name!r} of {its.item.name}" if its.item else repr(its.name)
            text = f"webhook {mine.name!r} and {name} both inject into {where}"
            yield Message(_INVALID, mine.item, text, mine.at)


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "no label"


def _samples(
    injectors: Sequence[Injector],
) -> Iterator[tuple[Mapping[str, str], Mapping[str, str]]]:
    """Labels of namespaces and pods, one combination of each sort that selectors can tell apart."""
    revisions = sorted({_NOBODY, *_revisions(injectors)})
    namespaces = [
        {**injection, **revision}
        for injection, revision in product(
            ({}, {INJECTION: "enabled"}, {INJECTION: "disabled"}),
            ({}, *({REVISION: each} for each in revisions)),
        )
    ]
    pods = [
        {**inject, **revision}
        for inject, revision in product(
            ({}, {INJECT: "true"}, {INJECT: "false"}),
            ({}, *({REVISION: each} for each in revisions)),
        )
    ]
    yield from product(namespaces, pods)


def _revisions(injectors: Sequence[Injector]) -> Iterator[str]:
    for injector in injectors:
        for selector in (injector.namespaces, injector.pods):
            if revision := plain.texts(selector, "matchLabels").get(REVISION):
                yield revision
            for each in plain.listing(selector, "matchExpressions"):
                if plain.text(each, "key") == REVISION:
                    yield from (v for v in plain.listing(each, "values") if isinstance(v, str))


def _external(view: View) -> Iterator[Message]:
    for kind in (kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS):
        for item in view.of(kind):
            if not item.name.startswith(_PREFIXES):
                continue
            for index, webhook in enumerate(plain.listing(item.body, "webhooks")):
                yield from _address(item, index, webhook)


def _address(item: Item, index: int, webhook: Any) -> Iterator[Message]:
    client = plain.mapping(webhook, "clientConfig")
    name = plain.text(webhook, "name")
    path = ("webhooks", index, "clientConfig")
    if plain.mapping(client, "service"):
        return
    url = plain.text(client, "url")
    host = _host(url)
    if not url:
        text = f"webhook {name!r} names neither a Service nor a URL"
        yield Message(_NO_ADDRESS, item, text, path)
    elif not host:
        text = f"webhook {name!r} leads to {url!r}, which is no https://HOST[:PORT]/PATH"
        yield Message(_NO_ADDRESS, item, text, (*path, "url"))
    elif _is_address(host):
        text = f"webhook {name!r} leads to the address {host}; a name can be moved"
        yield Message(_NO_NAME, item, text, (*path, "url"))


def _host(url: str) -> str:
    """The host of a URL of HTTPS, empty if it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "https" and (parts.port is None or parts.port > 0)
        return parts.hostname or "" if valid else ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


ANALYZERS = (
    Analyzer(
        "webhook.services",
        "Injectors lead to a Service that is there.",
        frozenset({_INVALID}),
        INJECTORS.inputs | {kinds.SERVICE},
        _dangling,
    ),
    Analyzer(
        "webhook.overlaps",
        "One injector takes a pod.",
        frozenset({_INVALID}),
        INJECTORS.inputs,
        _overlaps,
    ),
    Analyzer(
        "webhook.addresses",
        "Webhooks of a control plane elsewhere lead to a host by name.",
        frozenset({_NO_ADDRESS, _NO_NAME}),
        frozenset({kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS}),
        _external,
    ),
)
