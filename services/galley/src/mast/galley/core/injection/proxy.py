"""The container of the proxy: what the agent is told, its probes, its rights (C2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mast.galley.core.injection.annotations import READINESS, SIDECAR
from mast.galley.core.injection.site import METRICS_PORT, PROXY, PROXY_ID, READY_PORT, Site

Object = dict[str, Any]

AGENT: Final = "mast-agent"
"""The program of the image: its entry point, and what hooks call."""
OVERRIDE_MOUNT: Final = "/etc/istio/custom-bootstrap"
OVERRIDE_FILE: Final = "custom_bootstrap.json"

_SIZES: Final[Mapping[str, tuple[str, str]]] = {
    "proxyCPU": ("requests", "cpu"),
    "proxyMemory": ("requests", "memory"),
    "proxyCPULimit": ("limits", "cpu"),
    "proxyMemoryLimit": ("limits", "memory"),
}


def container(site: Site, role: str) -> Object:
    """The proxy as ``sidecar`` or ``router``; parts that are empty are left out."""
    values = site.settings.values
    found: Object = {
        "name": PROXY,
        "image": site.image,
        "imagePullPolicy": values.pull_policy,
        "args": arguments(site, role),
        "workingDir": "/",
        "ports": [{"containerPort": METRICS_PORT, "name": "http-envoy-prom", "protocol": "TCP"}],
        "env": environment(site),
        "resources": resources(site),
        "securityContext": security_context(site),
        "lifecycle": lifecycle(site, role),
        **probes(site),
    }
    return {key: value for key, value in found.items() if value not in ("", [], {})}


def arguments(site: Site, role: str) -> list[str]:
    """Of `mast-agent proxy` (citadel-and-agent.md B1)."""
    values, asked = site.settings.values, site.annotations.text
    words = [
        *("proxy", role),
        *("--domain", f"$(POD_NAMESPACE).svc.{values.domain}"),
        f"--proxyLogLevel={asked(f'{SIDECAR}logLevel', values.log_level)}",
        f"--proxyComponentLogLevel="
        f"{asked(f'{SIDECAR}componentLogLevel', values.component_log_level)}",
        f"--log_output_level={asked(f'{SIDECAR}agentLogLevel', values.agent_log_level)}",
    ]
    if values.sts_port:
        words.append(f"--stsPort={values.sts_port}")
    if values.log_as_json:
        words.append("--log_as_json")
    return words


def environment(site: Site) -> list[Object]:
    """Variables of the agent (citadel-and-agent.md B1); those of the ProxyConfig come last."""
    values, workload = site.settings.values, site.workload
    found = [
        {"name": "PILOT_CERT_PROVIDER", "value": values.cert_provider},
        {"name": "CA_ADDR", "value": site.settings.ca},
        _field("POD_NAME", "metadata.name"),
        _field("POD_NAMESPACE", "metadata.namespace"),
        _field("INSTANCE_IP", "status.podIP"),
        _field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        _field("HOST_IP", "status.hostIP"),
        _limit("ISTIO_CPU_LIMIT", "limits.cpu"),
        {"name": "PROXY_CONFIG", "value": _json(site.proxy_config)},
        {"name": "ISTIO_META_POD_PORTS", "value": _json(list(_ports(site.spec["containers"])))},
        {
            "name": "ISTIO_META_APP_CONTAINERS",
            "value": ",".join(str(each.get("name")) for each in site.applications),
        },
        _limit("GOMEMLIMIT", "limits.memory"),
        _limit("GOMAXPROCS", "limits.cpu"),
        {"name": "ISTIO_META_CLUSTER_ID", "value": values.cluster},
        _field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        {"name": "ISTIO_META_INTERCEPTION_MODE", "value": site.mode},
        {"name": "ISTIO_META_NETWORK", "value": network(site)},
        {"name": "ISTIO_META_WORKLOAD_NAME", "value": workload.name},
        {"name": "ISTIO_META_OWNER", "value": workload.owner if workload.name else ""},
        {"name": "ISTIO_META_MESH_ID", "value": values.mesh_id or site.settings.trust_domain},
        {"name": "TRUST_DOMAIN", "value": site.settings.trust_domain},
    ]
    if values.core_dump:
        found.append({"name": "ISTIO_ENVOY_ENABLE_CORE_DUMP", "value": "true"})
    if site.annotations.text(f"{SIDECAR}bootstrapOverride"):
        path = f"{OVERRIDE_MOUNT}/{OVERRIDE_FILE}"
        found.append({"name": "ISTIO_BOOTSTRAP_OVERRIDE", "value": path})
    told = {each["name"]: each for each in found if each.get("value") != ""}
    given = {name: {"name": name, "value": str(site.metadata[name])} for name in site.metadata}
    return [*(told | {name: given[name] for name in sorted(given)}).values()]


def network(site: Site) -> str:
    """The network the pod is in: its own label's, else that of the mesh's values."""
    return site.labels.get("topology.istio.io/network") or site.settings.values.network


def resources(site: Site) -> Object:
    """Of the values; if the pod's annotations say anything of it, what they say alone."""
    asked: Object = {}
    for name, (kind, what) in _SIZES.items():
        if amount := site.annotations.text(f"{SIDECAR}{name}"):
            asked.setdefault(kind, {})[what] = amount
    return asked or site.settings.values.resources


def security_context(site: Site) -> Object:
    """Nothing but what is needed: TPROXY takes addresses of others, users may want low ports.

    Capabilities are for root alone; the group keeps the proxy's own traffic from being captured.
    """
    added = ["NET_ADMIN"] if site.mode == "TPROXY" else []
    if site.annotations.flag(f"{SIDECAR}capNetBindService", False):
        added.append("NET_BIND_SERVICE")
    return {
        "allowPrivilegeEscalation": site.settings.values.privileged,
        "capabilities": {"drop": ["ALL"], **({"add": added} if added else {})},
        "privileged": site.settings.values.privileged,
        "readOnlyRootFilesystem": not site.settings.values.core_dump,
        "runAsGroup": PROXY_ID,
        "runAsNonRoot": not added,
        "runAsUser": 0 if added else PROXY_ID,
        **seccomp(site),
    }


def seccomp(site: Site) -> Object:
    """The profile of system calls, as part of a security context; nothing if values have none."""
    profile = site.settings.values.seccomp
    return {"seccompProfile": profile} if profile else {}


def probes(site: Site) -> Object:
    """Whether the proxy has started and is ready; nobody asks where there is no status port."""
    if not site.status_port:
        return {}
    values, asked = site.settings.values, site.annotations.number
    action = {"httpGet": {"path": "/healthz/ready", "port": READY_PORT}, "timeoutSeconds": 3}
    delay = asked(f"{READINESS}initialDelaySeconds", values.readiness_delay)
    found: Object = {
        "readinessProbe": {
            **action,
            **({"initialDelaySeconds": delay} if delay else {}),
            "periodSeconds": asked(f"{READINESS}periodSeconds", values.readiness_period),
            "failureThreshold": asked(f"{READINESS}failureThreshold", values.readiness_failures),
        }
    }
    if values.startup:
        found["startupProbe"] = {
            **action,
            "periodSeconds": 1,
            "failureThreshold": values.startup_failures,
        }
    return found


def lifecycle(site: Site, role: str) -> Object:
    """Hooks: a native sidecar drains first, one that holds programs back waits (B6.3)."""
    if site.settings.values.lifecycle:
        return site.settings.values.lifecycle
    if role == "sidecar" and site.native:
        port = str(site.status_port or 15020)
        drain = [AGENT, "request", f"--debug-port={port}", "POST", "drain"]
        return {"preStop": {"exec": {"command": drain}}}
    if role == "sidecar" and site.hold:
        return {"postStart": {"exec": {"command": [AGENT, "wait"]}}}
    return {}


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _limit(name: str, resource: str) -> Object:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}}


def _ports(containers: Iterable[Mapping[str, Any]]) -> Iterable[Object]:
    for each in containers:
        for port in each.get("ports") or ():
            named = {"name": port["name"]} if port.get("name") else {}
            protocol = {"protocol": port["protocol"]} if port.get("protocol") else {}
            yield {**named, "containerPort": port.get("containerPort"), **protocol}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
