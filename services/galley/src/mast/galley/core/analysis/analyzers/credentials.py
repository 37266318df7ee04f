"""Secrets that Gateways name: they are there, and hold what a server needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mast.common.credentials import PAIRS, ROOTS, credential, defects
from mast.galley.core.analysis import kinds, workloads
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.analysis.workloads import WORKLOADS, Workloads
from mast.galley.core.problem import Path
from mast.galley.core.rules.credentials import secret_values

_NOT_FOUND = "IST0101"
_INVALID = "IST0161"
_CA_SUFFIX = "-cacert"
_KUBERNETES = "kubernetes://"

Secrets = Mapping[tuple[str, str], Item]


def _credentials(view: View) -> Iterator[Message]:
    secrets = {(item.namespace, item.name): item for item in view.of(kinds.SECRET)}
    running = view.fact(WORKLOADS)
    for item in view.of(kinds.GATEWAY):
        namespaces = _namespaces(item, running)
        for index, server in enumerate(item.body.servers):
            at: Path = ("spec", "servers", index, "tls")
            for path, name in _names(server.tls, at):
                found = _secret(name, namespaces, secrets)
                if found is None:
                    where = " or ".join(sorted(namespaces))
                    text = f"Secret not found: {name!r} (looked for in namespace {where})"
                    yield Message(_NOT_FOUND, item, text, path)
                else:
                    yield from _judged(item, server.tls, found, path, secrets)


def _namespaces(gateway: Item, running: Workloads) -> set[str]:
    """Where Secrets are looked for: a proxy gets those of its own namespace."""
    selector = gateway.body.selector
    served = running.selected(selector) if selector else running.all
    return {each.namespace for each in served} or {gateway.namespace}


def _names(tls: Any, at: Path) -> Iterator[tuple[Path, str]]:
    """Names of Secrets of Kubernetes; other schemes are for other stores."""
    given = [((*at, "credentialName"), tls.credential_name)] if tls.credential_name else []
    given += [((*at, "credentialNames", i), name) for i, name in enumerate(tls.credential_names)]
    for path, name in given:
        plain = name.removeprefix(_KUBERNETES)
        if "://" not in plain:
            yield path, plain


def _secret(name: str, namespaces: set[str], secrets: Secrets) -> Item | None:
    namespace, slash, short = name.rpartition("/")
    where = {namespace} if slash else namespaces
    return next((secrets[each, short] for each in sorted(where) if (each, short) in secrets), None)


def _judged(item: Item, tls: Any, secret: Item, path: Path, secrets: Secrets) -> Iterator[Message]:
    """What a server lacks in its Secret; of a stored one no more than the names can be seen."""
    values = secret_values(secret.body)
    named = f"Secret {secret.namespace}/{secret.name}"
    if not any(all(name in values for name in pair) for pair in PAIRS):
        wanted = " or ".join(" and ".join(pair) for pair in reversed(PAIRS))
        yield Message(_INVALID, item, f"{named} holds no certificate with key: {wanted}", path)
        return
    for defect in defects(credential(values)):
        yield Message(_INVALID, item, f"{named}: {defect.name!r} {defect.message}", path)
    mutual = tls.mode in {tls.MUTUAL, tls.OPTIONAL_MUTUAL}
    beside = (secret.namespace, f"{secret.name}{_CA_SUFFIX}")
    has_roots = any(name in values for name in ROOTS) or beside in secrets
    if mutual and not has_roots and not (tls.ca_cert_credential_name or tls.ca_certificates):
        text = f"{named} holds no ca.crt to check clients against, and there is no {beside[1]!r}"
        yield Message(_INVALID, item, text, path)


ANALYZERS = (
    Analyzer(
        "gateway.credentials",
        "Secrets of Gateways exist and hold certificates.",
        frozenset({_NOT_FOUND, _INVALID}),
        frozenset({kinds.GATEWAY, kinds.SECRET}) | workloads.KINDS,
        _credentials,
    ),
)
