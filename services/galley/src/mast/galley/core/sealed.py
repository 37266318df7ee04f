"""Secrets as they are stored, sealed, and as they are shown, without their values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mast.common.sealing import seal, synthetic_nonce
from mast.galley.core.objects import ConfigObject
from mastapi.kubernetes.v1 import credentials_pb2

REDACTED = "[redacted]"
"""Stands for a value; no base64, so that nobody stores it by mistake."""


class NoSealingKey(Exception):
    """A Secret cannot be written: there is no key to seal it with."""


def sealed(obj: ConfigObject, key: bytes | None) -> ConfigObject:
    """The object as it is to be stored; raises NoSealingKey.

    Equal Secrets of one name have equal sealed forms, so that what did not change is not written.
    """
    if obj.kind.sealed is None:
        return obj
    if key is None:
        raise NoSealingKey(f"{obj.kind.name} {obj.meta.namespace}/{obj.meta.name}: no sealing key")
    secret = _settled(obj.spec)
    content = secret.SerializeToString(deterministic=True)
    nonce = synthetic_nonce(content, key, obj.key)
    found = seal(content, key, nonce, obj.key)
    stored = credentials_pb2.SealedSecret(
        type=secret.type,
        keys=sorted(secret.data),
        key_id=found.key_id,
        nonce=found.nonce,
        ciphertext=found.ciphertext,
    )
    return replace(obj, spec=stored)


def redacted(stored: Any) -> dict[str, Any]:
    """What is shown of a stored Secret."""
    return {"type": stored.type, "data": dict.fromkeys(stored.keys, REDACTED)}


def _settled(secret: Any) -> credentials_pb2.Secret:
    """The Secret with all values as data and a type, as Kubernetes keeps it."""
    found = credentials_pb2.Secret()
    found.CopyFrom(secret)
    found.type = found.type or "Opaque"
    for name, text in secret.string_data.items():
        found.data[name] = text.encode()
    found.string_data.clear()
    return found
