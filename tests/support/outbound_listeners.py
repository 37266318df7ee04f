"""Outbound listeners of a sidecar for services, and what they say in short."""

from collections.abc import Sequence
from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.pilot.core.filters.extensions import NO_EXTENSIONS
from mast.pilot.core.listeners import listeners
from mast.pilot.core.listeners.outbound_listeners import outbound
from mast.pilot.core.model.finding import Finding
from mast.pilot.core.model.proxy import Proxy
from tests.support.mesh_yaml import reported, scope, sidecar_proxy
from tests.support.messages import plain

ANY = "0.0.0.0"  # noqa: S104 - expected, never bound by a test
HTTP_80 = "raw_buffer http/1.1 h2c -> RDS 80"
THROUGH = "else -> PassthroughCluster"
TO_A, TO_B = "outbound|80||a.test", "outbound|80||b.test"
SIDECAR = "apiVersion: networking.istio.io/v1, kind: Sidecar"


def service(name: str, *ports: str, addresses: str = "", **spec: str) -> str:
    """A ServiceEntry `NAME.test`; ports as `NUMBER/PROTOCOL`, without protocol to be sniffed."""
    listed = ", ".join(
        f"{{number: {number}, name: p{number}, protocol: '{protocol}'}}"
        for number, _, protocol in (port.partition("/") for port in ports)
    )
    more = "".join(f", {key}: {value}" for key, value in {"resolution": "STATIC", **spec}.items())
    return (
        "{apiVersion: networking.istio.io/v1, kind: ServiceEntry,"
        f" metadata: {{name: {name}, namespace: shop}}, spec: {{hosts: [{name}.test],"
        f" addresses: [{addresses}], ports: [{listed}]{more}}}}}"
    )


def made(*texts: str, proxy: Proxy | None = None) -> dict[str, Listener]:
    """Listeners by name, for objects in YAML."""
    chosen = proxy or sidecar_proxy()
    return {each.name: each for each in listeners.outbound(scope(chosen, *texts), chosen)}


def found_conflicts(*texts: str) -> Sequence[Finding]:
    """What is found when listeners are made."""
    proxy = sidecar_proxy()
    return reported(scope(proxy, *texts), lambda seen: outbound(seen, proxy, NO_EXTENSIONS))


def conflicts(*texts: str) -> list[str]:
    """Sockets and hosts of findings."""
    return [each.key for each in found_conflicts(*texts)]


def chain(found: FilterChain) -> str:
    """What a chain matches and where it leads: `MATCH -> CLUSTER` or `MATCH -> RDS NAME`."""
    match = plain(found.filter_chain_match)
    criteria = [
        *(
            f"{each['address_prefix']}/{each['prefix_len']}"
            for each in match.get("prefix_ranges", [])
        ),
        *match.get("server_names", []),
        match.get("transport_protocol", ""),
        *match.get("application_protocols", []),
        *([f":{match['destination_port']}"] if "destination_port" in match else []),
    ]
    config: dict[str, Any] = plain(found.filters[-1])["typed_config"]
    if "rds" in config:
        target = f"RDS {config['rds']['route_config_name']}"
    else:
        target = config.get("cluster") or config["stat_prefix"]
    return f"{' '.join(filter(None, criteria))} -> {target}".strip()


def chains(listener: Listener) -> list[str]:
    """Every filter chain, the default one at the end."""
    found = [chain(each) for each in listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        found.append(f"else {chain(listener.default_filter_chain)}")
    return found


def names(*texts: str, proxy: Proxy | None = None) -> dict[str, list[str]]:
    """Filter chains of all listeners but the virtual one, by name."""
    found = made(*texts, proxy=proxy)
    found.pop("virtualOutbound", None)
    return {name: chains(each) for name, each in found.items()}


def unbound(**metadata: object) -> Proxy:
    """A sidecar without capture."""
    return sidecar_proxy(INTERCEPTION_MODE="NONE", **metadata)
