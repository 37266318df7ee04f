"""Webhook configurations of ours: which they are, and how they have to change (A3.3, A3.4).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

Object = dict[str, Any]

REVISION = "istio.io/rev"
ALWAYS_REJECT = "internal.istio.io/webhook-always-reject"

VALIDATING_SUFFIX = "validation.istio.io"
INJECTING_SUFFIX = "sidecar-injector.istio.io"

# What API servers say when a webhook denies, and when it says nothing of side effects.
_DENIED = "denied the request"
_NO_DRY_RUN = "does not support dry run"


def selector(revision: str) -> str:
    """Which configurations belong to a revision, as a label selector."""
    return f"{REVISION}={revision}"


def trusting(configuration: Mapping[str, Any], roots_pem: str) -> Object | None:
    """A strategic merge patch after which API servers trust these roots; None if they do."""
    bundle = base64.b64encode(roots_pem.encode()).decode()
    return _patch(
        configuration,
        {
            webhook["name"]: {"clientConfig": {"caBundle": bundle}}
            for webhook in _own(configuration)
            if (webhook.get("clientConfig") or {}).get("caBundle") != bundle
        },
    )


def closing(configuration: Mapping[str, Any]) -> Object | None:
    """A strategic merge patch after which nothing is stored unjudged; None if that is so.

    Only the validating ones: who installs an injector decides what its absence means.
    """
    return _patch(
        configuration,
        {
            webhook["name"]: {"failurePolicy": "Fail"}
            for webhook in _own(configuration)
            if webhook["name"].endswith(VALIDATING_SUFFIX)
            and webhook.get("failurePolicy") != "Fail"
        },
    )


def probe(namespace: str, revision: str) -> Object:
    """A Gateway that every validator of ours refuses, to be created in a dry run.

    Its specification is good: it is for our webhook to refuse it, not for the CRD's schema.
    """
    return {
        "metadata": {
            "name": "invalid-gateway",
            "namespace": namespace,
            "annotations": {ALWAYS_REJECT: "true"},
            "labels": {REVISION: revision},
        },
        "spec": {
            "servers": [
                {
                    "hosts": ["invalid.invalid"],
                    "port": {"number": 80, "name": "http", "protocol": "HTTP"},
                }
            ]
        },
    }


def refused_by_us(message: str) -> bool:
    """Whether the refusal of a probe shows that a webhook judges.

    A right that is missing, or a policy of somebody else, shows nothing. A webhook that cannot take
    part in dry runs counts as one that judges (A3.4).
    """
    return (_DENIED in message and ALWAYS_REJECT in message) or _NO_DRY_RUN in message


def _own(configuration: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The webhooks by whose names we know them; others may share the label."""
    for webhook in configuration.get("webhooks") or ():
        if webhook.get("name", "").endswith((VALIDATING_SUFFIX, INJECTING_SUFFIX)):
            yield webhook


def _patch(configuration: Mapping[str, Any], changes: Mapping[str, Object]) -> Object | None:
    """Webhooks are merged by name. The version makes it a conflict if somebody was faster."""
    if not changes:
        return None
    version = configuration["metadata"]["resourceVersion"]
    webhooks = [{"name": name, **change} for name, change in changes.items()]
    return {"metadata": {"resourceVersion": version}, "webhooks": webhooks}
