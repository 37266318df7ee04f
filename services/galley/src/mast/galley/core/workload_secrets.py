"""Secrets with a key and a certificate for every service account, as Citadel 1.4 made them (A10).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509

Object = dict[str, Any]

PREFIX = "istio."
TYPE = "istio.io/key-and-cert"
ACCOUNT = "istio.io/service-account.name"
CHAIN, KEY, ROOTS = "cert-chain.pem", "key.pem", "root-cert.pem"

OVERRIDE = "ca.istio.io/override"
ENV = "ca.istio.io/env"

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


@dataclass(frozen=True)
class SecretPolicy:
    """Which namespaces get Secrets, and when these are made anew.

    ``namespace`` is the control plane's; ``by_default`` is
    ``CITADEL_ENABLE_NAMESPACES_BY_DEFAULT``; ``only`` are ``--listened-namespaces``, all if empty.
    """

    namespace: str
    by_default: bool = True
    only: frozenset[str] = frozenset()
    ttl: timedelta = timedelta(hours=2160)
    grace_ratio: float = 0.5
    least_grace: timedelta = timedelta(minutes=10)


def is_managed(namespace: Mapping[str, Any], policy: SecretPolicy) -> bool:
    """Whether accounts of a namespace get Secrets: override, then environment, then default."""
    metadata = namespace.get("metadata") or {}
    if metadata.get("deletionTimestamp"):
        return False
    if policy.only and metadata.get("name") not in policy.only:
        return False
    labels = metadata.get("labels") or {}
    override = labels.get(OVERRIDE)
    if override in _TRUE or override in _FALSE:
        return override in _TRUE
    if ENV in labels:
        return bool(labels[ENV] == policy.namespace)
    return policy.by_default


def secret_name(account: str) -> str:
    """The name of an account's Secret."""
    return f"{PREFIX}{account}"


def new_secret(namespace: str, account: str, *, chain: bytes, key: bytes, roots: bytes) -> Object:
    """A Secret as it is mounted at ``/etc/certs``."""
    parts = {CHAIN: chain, KEY: key, ROOTS: roots}
    return {
        "metadata": {
            "name": secret_name(account),
            "namespace": namespace,
            "annotations": {ACCOUNT: account},
        },
        "type": TYPE,
        "data": {name: base64.b64encode(value).decode() for name, value in parts.items()},
    }


def account_of(secret: Mapping[str, Any]) -> str:
    """The account that a Secret of ours is for, "" if it is not ours."""
    if secret.get("type") != TYPE:
        return ""
    metadata = secret["metadata"]
    annotated = str((metadata.get("annotations") or {}).get(ACCOUNT, ""))
    return annotated if metadata.get("name") == secret_name(annotated) else ""


def why_anew(
    secret: Mapping[str, Any] | None, roots: bytes, policy: SecretPolicy, now: datetime
) -> str:
    """Why a Secret is made anew, "" if it need not be.

    Because it is missing, damaged, of other roots, or has less left than the larger of a share of
    its life and the least grace.
    """
    if secret is None:
        return "missing"
    try:
        parts = {
            name: base64.b64decode((secret.get("data") or {})[name], validate=True)
            for name in (CHAIN, KEY, ROOTS)
        }
        leaf = x509.load_pem_x509_certificates(parts[CHAIN])[0]
    except (KeyError, TypeError, ValueError, binascii.Error):
        return "damaged"
    if parts[ROOTS] != roots:
        return "roots"
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    grace = max(policy.grace_ratio * life, policy.least_grace)
    return "expiry" if leaf.not_valid_after_utc - now < grace else ""
