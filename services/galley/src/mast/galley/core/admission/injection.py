"""The verdict on a pod that is about to be created: what it gets, as a patch (C).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mast.galley.core.admission.review import Review, Verdict
from mast.galley.core.admission.validation import complaint
from mast.galley.core.injection.pod import patch
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import Settings


def verdict(asked: Review, settings: Settings, kubelets: Mapping[str, str]) -> Verdict:
    """The pod with its proxy, or as it is; denied is one whose wishes cannot be fulfilled (C3).

    ``kubelets`` are the versions of the nodes by name. Other requests than the creation of a pod
    are allowed unseen.
    """
    if (asked.operation, asked.group, asked.resource) != ("CREATE", "", "pods"):
        return Verdict(True, judged=False)
    pod = asked.content
    if asked.subresource:
        return Verdict(True, judged=False)
    if undecodable := complaint(pod):
        return _denied(undecodable)
    spec = pod.get("spec")
    node = spec.get("nodeName") if isinstance(spec, dict) else None
    kubelet = kubelets.get(node, "") if isinstance(node, str) else ""
    try:
        made = patch(pod, settings, namespace=asked.namespace or "default", kubelet=kubelet)
    except InjectionRefused as error:
        return _denied(str(error))
    return Verdict(True, patch=made.operations, judged=made.decision.inject)


def for_caller(settings: Settings, cluster: str, network: str) -> Settings:
    """The settings for pods of a cluster and network that the caller's address names."""
    old = settings.values
    values = replace(old, cluster=cluster or old.cluster, network=network or old.network)
    return settings if values == old else replace(settings, values=values)


def _denied(why: str) -> Verdict:
    return Verdict(False, f"injection refused: {why}", "invalid")
