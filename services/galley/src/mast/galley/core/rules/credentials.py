"""Secret and ConfigMap: certificates for gateways and TLS origination (pilot.md I5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mast.common.credentials import KNOWN, PAIRS, ROOTS, Credential, credential, defects
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules.table import Family, prefixed, required

GENERIC = "Opaque"
TLS = "kubernetes.io/tls"

_VALUE_NAME = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_LIMIT_BYTES = 1 << 20


def secret_values(secret: object) -> Mapping[str, bytes]:
    """The values of a Secret; those given as text win (Kubernetes Secret, "stringData")."""
    texts = {name: text.encode() for name, text in getattr(secret, "string_data").items()}  # noqa: B009
    return {**getattr(secret, "data"), **texts}  # noqa: B009


def _secret(obj: ConfigObject) -> Iterator[Finding]:
    kind = obj.spec.type or GENERIC
    if kind not in (GENERIC, TLS):
        message = f"type {kind!r} is not allowed; allowed: {TLS}, {GENERIC}"
        yield Finding(("type",), "secret-type", message)
        return
    values = secret_values(obj.spec)
    here = {name: ("stringData" if name in obj.spec.string_data else "data") for name in values}
    yield from _names(values, here)
    found = credential(values)
    yield from _pair(kind, found)
    if not (found.chain or found.key or found.roots):
        names = (*PAIRS[1], *ROOTS)
        yield required(("data",), *names)
    for defect in defects(found):
        path = (here[defect.name], defect.name)
        yield Finding(path, "credential", f"{defect.name!r} {defect.message}")


def _pair(kind: str, found: Credential) -> Iterator[Finding]:
    """A certificate and its key come together, in a Secret for TLS under the names that it has."""
    chain, key = (each.name if each else "" for each in (found.chain, found.key))
    if kind == TLS:
        for given, name in zip((chain, key), PAIRS[1], strict=True):
            if given != name:
                yield required(("data", name), name)
    elif bool(chain) != bool(key):
        missing = next(
            other
            for pair in PAIRS
            for one, other in (pair, pair[::-1])
            if one in (chain, key) and one
        )
        yield required(("data", missing), missing)


def _config_map(obj: ConfigObject) -> Iterator[Finding]:
    values = {name: text.encode() for name, text in obj.spec.data.items()}
    values |= obj.spec.binary_data
    here = {name: ("data" if name in obj.spec.data else "binaryData") for name in values}
    yield from _names(values, here)
    found = credential(values)
    if found.roots is None:
        message = (
            "a ConfigMap is only kept for the certificates of a CA, under 'ca.crt' or 'cacert'"
        )
        yield Finding(("data",), "required", message)
    for part in (found.chain, found.key):
        if part:
            message = f"{part.name!r} belongs into a Secret; a ConfigMap holds what anybody may see"
            yield Finding((here[part.name], part.name), "not-allowed", message)
    public = Credential(roots=found.roots, crl=found.crl)
    for defect in defects(public):
        path = (here[defect.name], defect.name)
        yield Finding(path, "credential", f"{defect.name!r} {defect.message}")


def _names(values: Mapping[str, bytes], here: Mapping[str, str]) -> Iterator[Finding]:
    for name in values:
        at: Path = (here[name], name)
        if not _VALUE_NAME.fullmatch(name):
            yield Finding(at, "name", f"{name!r} must be letters, digits, '-', '_' and '.'")
        elif name not in KNOWN:
            allowed = ", ".join(sorted(KNOWN))
            yield warning(at, "unused", f"{name!r} means nothing to the mesh; known: {allowed}")
    size = sum(map(len, values.values()))
    if size > _LIMIT_BYTES:
        message = f"the values have {size} bytes; allowed: {_LIMIT_BYTES}"
        yield Finding(("data",), "too-large", message)


FAMILY = Family(
    fields=prefixed("mastapi.kubernetes.v1", {}),
    objects={"Secret": _secret, "ConfigMap": _config_map},
)
