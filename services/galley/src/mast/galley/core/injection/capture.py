"""Traffic capture of a pod: the init container, or what the CNI plugin is told (C2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mast.galley.core.injection.annotations import REROUTE, SIDECAR, TRAFFIC
from mast.galley.core.injection.proxy import resources, seccomp
from mast.galley.core.injection.site import (
    INIT,
    METRICS_PORT,
    PROXY_ID,
    READY_PORT,
    VALIDATION,
    Site,
)

Object = dict[str, Any]

_OUTBOUND: Final = "15001"
_INBOUND: Final = "15006"


def settings_of_capture(site: Site) -> Mapping[str, str]:
    """What is captured, by the names of the annotations without their prefix; texts, resolved."""
    values = site.settings.values
    asked = site.annotations.text
    own = [str(METRICS_PORT), str(READY_PORT), str(site.status_port or 15020)]
    excluded = asked(f"{TRAFFIC}excludeInboundPorts", values.excluded_inbound_ports)
    more = [each.strip() for each in excluded.split(",") if each.strip()]
    return {
        "includeOutboundIPRanges": asked(
            f"{TRAFFIC}includeOutboundIPRanges", values.outbound_ranges
        ),
        "excludeOutboundIPRanges": asked(
            f"{TRAFFIC}excludeOutboundIPRanges", values.excluded_ranges
        ),
        "includeInboundPorts": asked(f"{TRAFFIC}includeInboundPorts", values.inbound_ports),
        "excludeInboundPorts": ",".join(dict.fromkeys([*own, *more])),
        "includeOutboundPorts": asked(f"{TRAFFIC}includeOutboundPorts", values.outbound_ports),
        "excludeOutboundPorts": asked(
            f"{TRAFFIC}excludeOutboundPorts", values.excluded_outbound_ports
        ),
        "excludeInterfaces": asked(f"{TRAFFIC}excludeInterfaces"),
        "kubevirtInterfaces": asked(REROUTE) or asked(f"{TRAFFIC}kubevirtInterfaces"),
    }


def arguments(site: Site) -> list[str]:
    """The command line of `istio-iptables`; flags whose value may be empty stand always (C1)."""
    what = settings_of_capture(site)
    words = [
        "istio-iptables",
        *("-p", _OUTBOUND),
        *("-z", _INBOUND),
        *("-u", str(PROXY_ID)),
        *("-m", site.mode),
        *("-i", what["includeOutboundIPRanges"]),
        *("-x", what["excludeOutboundIPRanges"]),
        *("-b", what["includeInboundPorts"]),
        *("-d", what["excludeInboundPorts"]),
    ]
    for flag, name in (
        ("-q", "includeOutboundPorts"),
        ("-o", "excludeOutboundPorts"),
        ("-k", "kubevirtInterfaces"),
        ("-c", "excludeInterfaces"),
    ):
        if what[name]:
            words += [flag, what[name]]
    return [*words, f"--log_output_level={site.settings.values.agent_log_level}"]


def init_containers(site: Site) -> list[Object]:
    """The one that sets capture up; with CNI the one that looks whether it was; none without."""
    if site.mode == "NONE":
        return []
    words = arguments(site)
    container: Object = {
        "name": VALIDATION if site.settings.values.cni else INIT,
        "image": site.init_image,
        "args": words,
        "workingDir": "/",
        "env": [{"name": name, "value": site.metadata[name]} for name in sorted(site.metadata)],
        "resources": resources(site),
        "securityContext": _privileged(site),
    }
    if site.settings.values.cni:
        container["args"] = [*words, "--run-validation", "--skip-rule-apply"]
        container["securityContext"] = _unprivileged(site)
    if site.settings.values.pull_policy:
        container["imagePullPolicy"] = site.settings.values.pull_policy
    return [{key: value for key, value in container.items() if value not in ([], {})}]


def plugin_annotations(site: Site) -> Mapping[str, str]:
    """What the CNI plugin reads of a pod: everything about capture, resolved."""
    if not site.settings.values.cni or site.mode == "NONE":
        return {}
    found = {f"{SIDECAR}interceptionMode": site.mode}
    found |= {f"{TRAFFIC}{key}": text for key, text in settings_of_capture(site).items() if text}
    return found


def _privileged(site: Site) -> Object:
    privileged = site.settings.values.privileged
    return {
        "allowPrivilegeEscalation": privileged,
        "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
        "privileged": privileged,
        "readOnlyRootFilesystem": False,
        "runAsGroup": 0,
        "runAsNonRoot": False,
        "runAsUser": 0,
        **seccomp(site),
    }


def _unprivileged(site: Site) -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": PROXY_ID,
        "runAsNonRoot": True,
        "runAsUser": PROXY_ID,
        **seccomp(site),
    }
