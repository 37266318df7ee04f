"""Reads what describes this proxy: mesh file, pod files, addresses of the machine (B1)."""

import fcntl
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import yaml

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.agent.config import Config, Flags
from mast.agent.core import paths
from mast.agent.core.node import Node, Surroundings, downward_api, node
from mast.agent.core.proxy_config import CONFIG_ANNOTATION, merged
from mast.agent.store.files import text_if_there

_SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class Inputs:
    """Everything that is known at start. ``env`` is the environment over proxyMetadata."""

    flags: Flags
    config: Config
    env: Mapping[str, str]
    proxy_config: ProxyConfig
    node: Node


def gather(
    flags: Flags, env: Mapping[str, str], of_pilot: Mapping[str, Any] | None = None
) -> Inputs:
    """Read files and put them together; variables win over ProxyConfig's proxyMetadata.

    `of_pilot` are fields of ProxyConfig that Pilot knows: they win over the mesh file only.

    Raises ValueError that names the source and what is wrong with it. Files that are not there
    are empty (citadel-and-agent.md B10).
    """
    annotations = downward_api(text_if_there(paths.POD_ANNOTATIONS))
    mesh = _object(flags.mesh_config, text_if_there(flags.mesh_config))
    overlays = {
        flags.mesh_config: mesh.get("defaultConfig") or {},
        "Pilot": of_pilot or {},
        "PROXY_CONFIG": _object("PROXY_CONFIG", env.get("PROXY_CONFIG", "")),
        f"annotation {CONFIG_ANNOTATION}": _object(
            CONFIG_ANNOTATION, annotations.get(CONFIG_ANNOTATION, "")
        ),
    }
    proxy_config = merged(overlays)
    whole = {**proxy_config.proxy_metadata, **env}
    config = Config.parse(whole)
    place = Surroundings(
        env=whole,
        hostname=socket.gethostname(),
        role=flags.role,
        domain=flags.domain,
        service_cluster=flags.service_cluster,
        sts_port=flags.sts_port,
        instance_ip=config.instance_ip,
        pod_name=config.pod_name,
        namespace=config.pod_namespace,
        service_account=config.service_account,
        trust_domain=config.trust_domain,
        status_port=config.status_port,
        prometheus_port=config.prometheus_port,
        exit_on_zero=config.exit_on_zero,
        addresses=host_addresses(),
        labels=downward_api(text_if_there(paths.POD_LABELS)),
        annotations=annotations,
    )
    return Inputs(flags, config, whole, proxy_config, node(place, proxy_config))


def _object(source: str, text: str) -> dict[str, Any]:
    try:
        value = yaml.safe_load(text) if text.strip() else {}
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: no YAML: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{source}: want an object, got {type(value).__name__}")
    return value


def host_addresses() -> list[str]:
    """IPv4 and IPv6 addresses of the machine's interfaces."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:  # no IPv4 address
                continue
            found.append(socket.inet_ntoa(answer[20:24]))
    table = Path("/proc/net/if_inet6")
    if table.exists():
        lines = table.read_text().splitlines()
        found += [str(IPv6Address(bytes.fromhex(line.split()[0]))) for line in lines]
    return found
