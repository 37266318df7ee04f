"""Kubernetes Secrets and ConfigMaps with certificates, as `credentialName` names them."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping

from mast.cli.offline.documents import Document, Found, Reader, Secret
from mast.galley.core.problem import Problem


def _read(document: Document, namespace: str) -> Found:
    config_map = document.type[1] == "ConfigMap"
    name = _text(document, "name")
    if not name:
        problem = document.problem("required", "a name is required", "metadata.name")
        return Found(problems=(problem,))
    data: dict[str, bytes] = {}
    problems: list[Problem] = []
    encoded = ("binaryData",) if config_map else ("data",)
    for field in ("data", "stringData", "binaryData"):
        for key, value in _texts(document, field, problems).items():
            try:
                data[key] = _decoded(value) if field in encoded else value.encode()
            except binascii.Error as error:
                message = f"is not base64: {error}"
                problems.append(document.problem("wrong-type", message, f"{field}.{key}"))
    found = Secret(_text(document, "namespace") or namespace, name, data, config_map)
    return Found(secrets=(found,), problems=tuple(problems))


def _decoded(text: str) -> bytes:
    return b64decode("".join(text.split()), validate=True)


def _texts(document: Document, field: str, problems: list[Problem]) -> dict[str, str]:
    node = document.content.get(field)
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        problems.append(document.problem("wrong-type", "is not an object", field, node.position))
        return {}
    found = {}
    for key, value in node.value.items():
        if isinstance(value.value, str):
            found[key] = value.value
        else:
            path = f"{field}.{key}"
            problems.append(document.problem("wrong-type", "is not text", path, value.position))
    return found


def _text(document: Document, key: str) -> str:
    node = document.metadata(key)
    return node.value if node is not None and isinstance(node.value, str) else ""


READERS: Mapping[tuple[str, str], Reader] = {("v1", "Secret"): _read, ("v1", "ConfigMap"): _read}
