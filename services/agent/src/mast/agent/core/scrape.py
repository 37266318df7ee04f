"""Metrics of agent, Envoy and application on one page (citadel-and-agent.md B7)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text"
END: Final = b"# EOF"
MOST_BYTES: Final = 10 * 1024 * 1024
MESH_PORTS: Final = frozenset({15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090})


@dataclass(frozen=True)
class Target:
    """A page of the application."""

    port: int
    path: str


def urls(
    found: Sequence[Target], endpoints: Mapping[str, str], *, ipv6_only: bool
) -> tuple[str, ...]:
    """Where the targets are for the agent: on loopback, where nothing is captured.

    ``endpoints`` say otherwise for ports of interception mode NONE (``APP_ENDPOINTS``).
    """
    loopback = "[::1]" if ipv6_only else "127.0.0.1"
    return tuple(
        f"http://{endpoints.get(str(each.port), f'{loopback}:{each.port}')}{each.path}"
        for each in found
    )


@dataclass(frozen=True)
class Page:
    """What a target answered."""

    content_type: str
    body: bytes


def targets(annotations: str, mesh_ports: frozenset[int] = MESH_PORTS) -> tuple[Target, ...]:
    """Where the application's metrics are, of ``ISTIO_PROMETHEUS_ANNOTATIONS``.

    ``{"scrape":"true","path":"/metrics","port":"80","targets":[{"path","port"}]}``; nothing is
    scraped unless ``scrape`` is true. Raises ValueError that names the field, also for ports of
    the mesh itself: they would be scraped twice or for ever.
    """
    if not annotations:
        return ()
    try:
        value = json.loads(annotations)
    except json.JSONDecodeError as error:
        raise ValueError(f"ISTIO_PROMETHEUS_ANNOTATIONS: no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("ISTIO_PROMETHEUS_ANNOTATIONS: want a JSON object")
    if str(value.get("scrape", "")).lower() != "true":
        return ()
    listed = value.get("targets") or [value]
    return tuple(_target(each, mesh_ports) for each in listed)


def _target(value: dict[str, Any], mesh_ports: frozenset[int]) -> Target:
    text = str(value.get("port") or "80")
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"ISTIO_PROMETHEUS_ANNOTATIONS port {text!r}: want 1 to 65535")
    if int(text) in mesh_ports:
        raise ValueError(f"ISTIO_PROMETHEUS_ANNOTATIONS port {text}: is a port of the mesh")
    path = str(value.get("path") or "/metrics")
    return Target(int(text), path if path.startswith("/") else f"/{path}")


def merged(own: str, envoy: Page | None, application: Sequence[Page]) -> Page:
    """One page; the application's part is last and decides on the format.

    OpenMetrics ends with ``# EOF``: it stands once, at the very end. A part that is None or empty
    is left out.
    """
    pages = [Page(TEXT, own.encode()), *([envoy] if envoy else []), *application]
    bodies = [_without_end(page.body) for page in pages]
    text = b"".join(body if body.endswith(b"\n") else body + b"\n" for body in bodies if body)
    kinds = [page.content_type for page in application]
    if kinds and kinds[-1].startswith(OPEN_METRICS):
        return Page(kinds[-1], text + END + b"\n")
    return Page(TEXT, text)


def _without_end(body: bytes) -> bytes:
    stripped = body.rstrip()
    return stripped.removesuffix(END) if stripped.endswith(END) else body
