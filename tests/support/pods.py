"""Pods in tests of injection: where they stand in objects, and how restricted they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

Object = dict[str, Any]

PATHS = {
    "Pod": (),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
VOLUMES = {"configMap", "emptyDir", "projected", "downwardAPI", "secret", "csi", "ephemeral",
           "persistentVolumeClaim"}  # fmt: skip
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start"}


def pods(text: str) -> Iterator[Object]:
    """Every pod, or template of one, in a text of manifests."""
    for item in yaml.safe_load_all(text):
        for each in item["items"] if item["kind"] == "List" else [item]:
            if each["kind"] == "Service":
                continue
            found = each
            for part in PATHS.get(each["kind"], ("spec", "template")):
                found = found[part]
            yield found


def pod(**spec: Any) -> Object:
    """A pod with one program; ``annotations`` and ``labels`` go to its metadata."""
    metadata = {key: spec.pop(key) for key in ("annotations", "labels") if key in spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", **metadata},
        "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}], **spec},
    }


def container(pod: Mapping[str, Any], name: str = "istio-proxy") -> Object:
    """A container, or init container, by its name."""
    spec = pod["spec"]
    every = [*spec.get("initContainers", ()), *spec["containers"]]
    (found,) = [each for each in every if each["name"] == name]
    return dict(found)


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """Variables of a container that are given as text."""
    return {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}


def not_restricted(pod: Mapping[str, Any]) -> list[str]:
    """What PodSecurity refuses of a pod at the level ``restricted``."""
    spec = pod["spec"]
    own = spec.get("securityContext", {})
    found = [f"volume {v['name']}" for v in spec.get("volumes", ()) if set(v) - {"name"} - VOLUMES]
    found += [f"sysctl {e['name']}" for e in own.get("sysctls", ()) if e["name"] not in SYSCTLS]
    found += [f"{key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for each in [*spec.get("initContainers", ()), *spec["containers"]]:
        context = {**own, **each.get("securityContext", {})}
        capabilities = context.get("capabilities", {})
        wrong = {
            "privileged": context.get("privileged", False),
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation", True),
            "runAsNonRoot": not context.get("runAsNonRoot", False),
            "runAsUser": context.get("runAsUser") == 0,
            "capabilities": "ALL" not in capabilities.get("drop", ())
            or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"},
            "seccompProfile": context.get("seccompProfile", {}).get("type")
            not in {"RuntimeDefault", "Localhost"},
            "hostPort": any("hostPort" in port for port in each.get("ports", ())),
        }
        found += [f"{each['name']}: {name}" for name, bad in wrong.items() if bad]
    return found
