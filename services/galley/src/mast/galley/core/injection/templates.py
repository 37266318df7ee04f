"""The built-in templates: overlays of pods by name (C2, ``inject.istio.io/templates``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from mast.galley.core.injection import capture, proxy
from mast.galley.core.injection.merging import merged, placed
from mast.galley.core.injection.site import PROXY, PROXY_ID, Site
from mast.galley.core.injection.volumes import mounts, volumes

Object = dict[str, Any]

XDS_MOUNT: Final = "/etc/istio/proxy"
DATA_MOUNT: Final = "/var/lib/istio/data"
_BOOTSTRAP: Final = f"{XDS_MOUNT}/grpc-bootstrap.json"
_SIMPLE_MOUNT: Final = "/var/lib/grpc/data"
_SIMPLE_INIT: Final = "grpc-bootstrap-init"
_LOW_PORTS: Final = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
"""Lets the proxy, which is not root, listen on 80 and 443."""
_SERVERS: Final = "xds.istio.io/grpc/lds/inbound/%s"


def sidecar(site: Site) -> Object:
    """The proxy beside the programs of the pod, and capture of their traffic."""
    own = proxy.container(site, "sidecar") | {"volumeMounts": mounts(site)}
    spec: Object = {"volumes": volumes(site), "initContainers": capture.init_containers(site)}
    if site.native:
        spec["initContainers"] = [*spec["initContainers"], {**own, "restartPolicy": "Always"}]
    else:
        spec["containers"] = [own]
    return _pod(site, spec, capture.plugin_annotations(site))


def gateway(site: Site) -> Object:
    """A proxy alone; the pod's own container of this name says ports, resources and rights."""
    own = proxy.container(site, "router") | {"volumeMounts": mounts(site)}
    own["env"] = _with_variables(own["env"], {"ISTIO_META_UNPRIVILEGED_POD": "true"})
    own["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": PROXY_ID,
        "runAsNonRoot": True,
        "runAsUser": PROXY_ID,
        **proxy.seccomp(site),
    }
    spec: Object = {"volumes": volumes(site), "containers": [own]}
    if "sysctls" not in (site.spec.get("securityContext") or {}):
        spec["securityContext"] = {"sysctls": [dict(_LOW_PORTS)]}
    return _pod(site, spec, {})


def grpc_agent(site: Site) -> Object:
    """The agent without Envoy, for programs whose library speaks xDS (docs/proxyless.md).

    Libraries read the bootstrap once, when the program starts: the agent always comes first.
    """
    own = proxy.container(site, "sidecar") | {"volumeMounts": mounts(site)}
    variables = {
        "DISABLE_ENVOY": "true",
        "GRPC_XDS_BOOTSTRAP": f".{_BOOTSTRAP}",
        "OUTPUT_CERTS": f".{DATA_MOUNT}",
        "ISTIO_META_INTERCEPTION_MODE": "NONE",
    }
    own["env"] = _with_variables(own["env"], variables)
    own.pop("lifecycle", None)  # there is no Envoy to drain
    own["ports"] = [{"containerPort": site.status_port or 15020, "name": "mesh-metrics"}]
    port = site.status_port or 15020
    ready = f"http://localhost:{port}/healthz/ready"
    own |= {
        key: {**own[key], "httpGet": {"path": "/healthz/ready", "port": port}}
        for key in ("readinessProbe", "startupProbe")
        if key in own
    }
    spec: Object = {"volumes": volumes(site)}
    if site.native:
        spec["initContainers"] = [{**own, "restartPolicy": "Always"}]
        spec["containers"] = []
    else:
        wait = [proxy.AGENT, "wait", f"--url={ready}"]
        spec["containers"] = [{**own, "lifecycle": {"postStart": {"exec": {"command": wait}}}}]
    shared = [
        {"name": "istio-envoy", "mountPath": XDS_MOUNT},
        {"name": "istio-data", "mountPath": DATA_MOUNT},
    ]
    spec["containers"] += _for_programs(site, {"GRPC_XDS_BOOTSTRAP": _BOOTSTRAP}, shared)
    return _pod(site, spec, {})


def grpc_simple(site: Site) -> Object:
    """Only a bootstrap, written once: plain xDS to the control plane, no certificates."""
    image = site.init_image
    host = str(site.proxy_config.get("discoveryAddress")).rpartition(":")[0]
    domain = f"$(POD_NAMESPACE).svc.{site.settings.values.domain}"
    metadata = {
        each["name"].removeprefix("ISTIO_META_"): each["value"]
        for each in proxy.environment(site)
        if each["name"].startswith("ISTIO_META_") and "value" in each
    }
    metadata |= {
        "GENERATOR": "grpc",
        "NAME": "$(POD_NAME)",
        "NAMESPACE": "$(POD_NAMESPACE)",
        "INSTANCE_IPS": "$(INSTANCE_IP)",
        "SERVICE_ACCOUNT": "$(SERVICE_ACCOUNT)",
    }
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"{host}:15010",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {
            "id": f"sidecar~$(INSTANCE_IP)~$(POD_NAME).$(POD_NAMESPACE)~{domain}",
            "metadata": metadata,
        },
        "server_listener_resource_name_template": _SERVERS,
    }
    named = ("POD_NAME", "POD_NAMESPACE", "INSTANCE_IP", "SERVICE_ACCOUNT")
    fields = [each for each in proxy.environment(site) if each["name"] in named]
    mount = {"name": "grpc-io-proxyless-bootstrap", "mountPath": _SIMPLE_MOUNT}
    init = {
        "name": _SIMPLE_INIT,
        "image": image,
        "command": ["sh", "-c", f'printf %s "$GRPC_BOOTSTRAP" > {_SIMPLE_MOUNT}/bootstrap.json'],
        "env": [*fields, {"name": "GRPC_BOOTSTRAP", "value": _json(bootstrap)}],
        "resources": proxy.resources(site),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsGroup": PROXY_ID,
            "runAsNonRoot": True,
            "runAsUser": PROXY_ID,
            **proxy.seccomp(site),
        },
        "volumeMounts": [mount],
    }
    if site.settings.values.pull_policy:
        init["imagePullPolicy"] = site.settings.values.pull_policy
    where = {"GRPC_XDS_BOOTSTRAP": f"{_SIMPLE_MOUNT}/bootstrap.json"}
    return {
        "metadata": {"labels": labels(site, tls=False)},
        "spec": {
            "volumes": [{"name": mount["name"], "emptyDir": {}}],
            "initContainers": [init],
            "containers": _for_programs(site, where, [mount]),
        },
    }


def overlay(site: Site, names: tuple[str, ...]) -> Object:
    """What all of the templates amount to, each over those before it."""
    result: Object = {}
    for name in names:
        made = BY_NAME[name](site) if name in BY_NAME else site.settings.templates[name]
        spec = placed(made.get("spec") or {}, result.get("spec") or {})
        whole = {**made, "spec": spec}
        alone = not result and name in BY_NAME
        result = whole if alone else merged(result, whole)
    return result


def labels(site: Site, *, tls: bool = True) -> Mapping[str, str]:
    """Labels that tell the mesh what the pod is; those it has are not touched (C2)."""
    given, name = site.labels, site.workload.name
    canonical = given.get("app.kubernetes.io/name") or given.get("app") or name
    revision = given.get("app.kubernetes.io/version") or given.get("version") or "latest"
    found = {
        "security.istio.io/tlsMode": "istio" if tls else "",
        "service.istio.io/canonical-name": canonical[:63].rstrip("-_."),
        "service.istio.io/canonical-revision": revision,
        "topology.istio.io/network": proxy.network(site),
    }
    return {key: value for key, value in found.items() if value and key not in given}


def _pod(site: Site, spec: Object, annotations: Mapping[str, str]) -> Object:
    pulled = [{"name": name} for name in site.settings.values.pull_secrets]
    spec = {**spec, **({"imagePullSecrets": pulled} if pulled else {})}
    return {
        "metadata": {
            "labels": labels(site),
            "annotations": {**_default_container(site), **annotations},
        },
        "spec": {key: value for key, value in spec.items() if value != []},
    }


def _default_container(site: Site) -> Mapping[str, str]:
    """Which container kubectl means; not touched where the pod says it."""
    first = site.applications[0].get("name") if site.applications else PROXY
    names = (
        "kubectl.kubernetes.io/default-container",
        "kubectl.kubernetes.io/default-logs-container",
    )
    return {name: str(first) for name in names if name not in site.annotations.given}


def _for_programs(site: Site, env: Mapping[str, str], shared: list[Object]) -> list[Object]:
    """An overlay of each of the user's containers."""
    variables = [{"name": name, "value": value} for name, value in env.items()]
    return [
        {"name": each["name"], "env": variables, "volumeMounts": shared}
        for each in site.applications
    ]


def _with_variables(env: list[Object], more: Mapping[str, str]) -> list[Object]:
    told = {each["name"]: each for each in env}
    return [*(told | {name: {"name": name, "value": more[name]} for name in more}).values()]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


BY_NAME: Final[Mapping[str, Callable[[Site], Object]]] = {
    "sidecar": sidecar,
    "gateway": gateway,
    "grpc-agent": grpc_agent,
    "grpc-simple": grpc_simple,
}
