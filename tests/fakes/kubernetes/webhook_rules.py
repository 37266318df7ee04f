"""Webhook configurations: what they leave open, what makes them no good, what they select.

Rules are those of "Dynamic Admission Control" in Kubernetes' documentation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from mast.common.kubernetes.objects import Object, Resource
from tests.fakes.kubernetes.status import Status

REVIEWS = ("v1", "v1beta1")


def completed(configuration: Object) -> None:
    """Fill in what a webhook configuration leaves open; Status if it is no good (v1)."""
    mutating = configuration["kind"] == "MutatingWebhookConfiguration"
    names = set()
    for index, webhook in enumerate(configuration.get("webhooks") or ()):
        at = f"webhooks[{index}]"
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("matchPolicy", "Equivalent")
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})
        webhook.setdefault("timeoutSeconds", 10)
        if mutating:
            webhook.setdefault("reinvocationPolicy", "Never")
        for rule in webhook.get("rules") or ():
            rule.setdefault("scope", "*")
        client = webhook.get("clientConfig") or {}
        name = webhook.get("name", "")
        checks = {
            "name": name.count(".") >= 2 and name not in names,
            "clientConfig": ("url" in client) != ("service" in client),
            "clientConfig.caBundle": _is_base64(client.get("caBundle", "")),
            "failurePolicy": webhook["failurePolicy"] in {"Fail", "Ignore"},
            "matchPolicy": webhook["matchPolicy"] in {"Exact", "Equivalent"},
            "sideEffects": webhook.get("sideEffects") in {"None", "NoneOnDryRun"},
            "timeoutSeconds": 1 <= webhook["timeoutSeconds"] <= 30,
            "admissionReviewVersions": any(
                v in REVIEWS for v in webhook.get("admissionReviewVersions") or ()
            ),
        }
        for path, good in checks.items():
            if not good:
                raise Status(422, "Invalid", f"{at}.{path}: Invalid value")
        names.add(name)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def rule_matches(
    rule: Object, operation: str, resource: Resource, subresource: str, namespace: str
) -> bool:
    """Whether a webhook is asked about such a write, as far as its rule goes."""
    wanted = f"{resource.plural}/{subresource}" if subresource else resource.plural
    names = {"*/*", wanted}
    if subresource:
        names |= {f"*/{subresource}", f"{resource.plural}/*"}
    else:
        names |= {"*"}
    scope = "Namespaced" if namespace and resource.namespaced else "Cluster"
    return (
        _has(rule["operations"], operation)
        and _has(rule["apiGroups"], resource.group)
        and _has(rule["apiVersions"], resource.version)
        and bool(names & set(rule["resources"]))
        and rule["scope"] in {"*", scope}
    )


def _has(allowed: list[str], value: str) -> bool:
    return "*" in allowed or value in allowed


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """A LabelSelector; the empty one selects everything."""
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or ():
        value, values = labels.get(term["key"]), term.get("values") or ()
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[term["operator"]]:
            return False
    return True
