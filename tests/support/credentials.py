"""Secrets and ConfigMaps for tests, as users write them and as Galley stores them."""

from __future__ import annotations

import base64
from typing import Any

import yaml

from mast.common.sealing import seal, synthetic_nonce
from mastapi.kubernetes.v1.credentials_pb2 import SealedSecret, Secret

SEALING_KEY = bytes(range(32))
"""The key of tests that have no key file."""


def secret_yaml(name: str, namespace: str, **values: bytes) -> str:
    """A Secret; `tls_crt` stands for the value `tls.crt`."""
    data = {
        key.replace("_", "."): base64.b64encode(value).decode() for key, value in values.items()
    }
    return _document("Secret", name, namespace, data)


def config_map_yaml(name: str, namespace: str, **values: bytes) -> str:
    """A ConfigMap, with names of values as in a Secret."""
    data = {key.replace("_", "."): value.decode() for key, value in values.items()}
    return _document("ConfigMap", name, namespace, data)


def sealed_secret(secret: Secret, place: str, key: bytes = SEALING_KEY) -> SealedSecret:
    """A Secret as it is stored under a key of the store."""
    content = secret.SerializeToString(deterministic=True)
    record = seal(content, key, synthetic_nonce(content, key, place), place)
    return SealedSecret(
        type=secret.type,
        keys=sorted(secret.data),
        key_id=record.key_id,
        nonce=record.nonce,
        ciphertext=record.ciphertext,
    )


def _document(kind: str, name: str, namespace: str, data: dict[str, str]) -> str:
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }
    return f"---\n{yaml.safe_dump(content)}"
