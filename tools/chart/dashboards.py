"""Grafana's dashboards of the mesh, made of what they show: rows of panels, panels of queries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

_WIDTH: Final = 24
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "$datasource"}


@dataclass(frozen=True)
class Panel:
    """A graph of queries by their legends; ``unit`` is Grafana's word."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    about: str = ""


@dataclass(frozen=True)
class Choice:
    """A variable of a dashboard: the values of a label."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True)
class Dashboard:
    """Rows of panels by their titles."""

    title: str
    rows: Mapping[str, Sequence[Panel]]
    choices: Sequence[Choice] = ()


def rate(metric: str, labels: str = "", by: str = "") -> str:
    """How many a second."""
    grouped = f" by ({by})" if by else ""
    return f"sum(rate({metric}{{{labels}}}[$__rate_interval])){grouped}"


def quantile(share: float, metric: str, labels: str = "", by: str = "") -> str:
    """Of a histogram."""
    grouped = f"le, {by}" if by else "le"
    inner = f"sum(rate({metric}_bucket{{{labels}}}[$__rate_interval])) by ({grouped})"
    return f"histogram_quantile({share:g}, {inner})"


def quantiles(metric: str, labels: str = "") -> dict[str, str]:
    """Half, nearly all, all but one of a hundred."""
    return {f"p{share * 100:g}": quantile(share, metric, labels) for share in (0.5, 0.9, 0.99)}


def share(part: str, whole: str) -> str:
    """The part of the whole."""
    return f"{part} / {whole}"


_IN: Final = 'reporter="destination"'
_JUDGED: Final = "galley_validation"
_PEERS: Final = "etcd_network_peer_round_trip"
_GOOD: Final = 'response_code!~"5.."'


def _traffic(labels: str, by: str) -> list[Panel]:
    """What is known of requests that have these labels."""
    legend = f"{{{{{by}}}}}"
    good = ", ".join((labels, _GOOD))
    requests = "istio_requests_total"
    return [
        Panel("Requests", {legend: rate(requests, labels, by)}, "reqps"),
        Panel(
            "Success",
            {legend: share(rate(requests, good, by), rate(requests, labels, by))},
            "percentunit",
            "Requests without a 5xx, of all.",
        ),
        Panel("Duration", quantiles("istio_request_duration_seconds", labels), "s"),
        Panel("Answers by code", {"{{response_code}}": rate(requests, labels, "response_code")}),
        Panel("Size of requests", quantiles("istio_request_bytes", labels), "bytes"),
        Panel("Size of responses", quantiles("istio_response_bytes", labels), "bytes"),
        Panel(
            "TCP",
            {
                "received": rate("istio_tcp_received_bytes_total", labels),
                "sent": rate("istio_tcp_sent_bytes_total", labels),
            },
            "Bps",
        ),
        Panel(
            "TCP connections",
            {
                "opened": rate("istio_tcp_connections_opened_total", labels),
                "closed": rate("istio_tcp_connections_closed_total", labels),
            },
        ),
    ]


def _process(name: str, job: str) -> list[Panel]:
    labels = f'job=~"{job}"'
    return [
        Panel(
            f"{name}: processor",
            {"{{pod}}": rate("process_cpu_seconds_total", labels, "pod")},
            "short",
        ),
        Panel(
            f"{name}: memory",
            {"{{pod}}": f"sum(process_resident_memory_bytes{{{labels}}}) by (pod)"},
            "bytes",
        ),
    ]


MESH: Final = Dashboard(
    "Mast mesh",
    {
        "All of it": _traffic(_IN, "destination_service_name"),
        "Security": [
            Panel(
                "Requests by security",
                {
                    "{{connection_security_policy}}": rate(
                        "istio_requests_total", _IN, "connection_security_policy"
                    )
                },
                "reqps",
            ),
            Panel("Proxies", {"{{version}}": "sum(pilot_xds) by (version)"}),
        ],
    },
)
SERVICE: Final = Dashboard(
    "Mast service",
    {
        "As the service sees it": _traffic(
            f'{_IN}, destination_service=~"$service"', "destination_workload"
        ),
        "As callers see it": _traffic(
            'reporter="source", destination_service=~"$service"', "source_workload"
        ),
    },
    [Choice("service", "istio_requests_total", "destination_service")],
)
WORKLOAD: Final = Dashboard(
    "Mast workload",
    {
        "In": _traffic(
            f'{_IN}, destination_workload_namespace=~"$namespace", '
            'destination_workload=~"$workload"',
            "source_workload",
        ),
        "Out": _traffic(
            'reporter="source", source_workload_namespace=~"$namespace", '
            'source_workload=~"$workload"',
            "destination_service_name",
        ),
    },
    [
        Choice("namespace", "istio_requests_total", "destination_workload_namespace"),
        Choice("workload", "istio_requests_total", "destination_workload"),
    ],
)
CONTROL_PLANE: Final = Dashboard(
    "Mast control plane",
    {
        "Pilot": [
            Panel("Proxies", {"{{pod}}": "sum(pilot_xds) by (pod)"}),
            Panel("Pushes", {"{{type}}": rate("pilot_xds_pushes", by="type")}),
            Panel("From a change to proxies", quantiles("pilot_proxy_convergence_time"), "s"),
            Panel("Time to make a snapshot", quantiles("pilot_pushcontext_init_seconds"), "s"),
            Panel("Causes of pushes", {"{{type}}": rate("pilot_push_triggers", by="type")}),
            Panel("Size of responses", quantiles("pilot_xds_config_size_bytes"), "bytes"),
            Panel(
                "What goes wrong",
                {
                    "rejected by proxies": rate("pilot_total_xds_rejects"),
                    "internal errors": rate("pilot_total_xds_internal_errors"),
                    "proxies that do not read": rate("pilot_xds_write_timeout"),
                    "Secrets that are not there": rate("pilot_sds_certificate_errors_total"),
                    "repairs": rate("pilot_self_check_repairs"),
                },
            ),
            Panel(
                "Objects that lose or do nothing",
                {
                    "rejected": "sum(pilot_total_rejected_configs)",
                    "superseded": "sum(pilot_superseded_configs)",
                    "policies that cannot be enforced": "sum(pilot_unenforceable_policies)",
                    "services without endpoints": "sum(pilot_eds_no_instances)",
                    "domains twice": "sum(pilot_vservice_dup_domain)",
                },
            ),
            *_process("Pilot", "pilot"),
        ],
        "Citadel": [
            Panel(
                "Certificates",
                {
                    "asked for": rate("citadel_server_csr_count"),
                    "issued": rate("citadel_server_success_cert_issuance_count"),
                    "callers not recognised": rate("citadel_server_authentication_failure_count"),
                    "not signed": rate("citadel_server_csr_sign_err_count"),
                },
            ),
            Panel(
                "Until roots and chain end",
                {
                    "roots": "min(citadel_server_root_cert_expiry_seconds)",
                    "chain": "min(citadel_server_cert_chain_expiry_seconds)",
                },
                "s",
            ),
            *_process("Citadel", "citadel"),
        ],
        "Mixer": [
            Panel(
                "Dispatches", {"{{adapter}}": rate("mixer_runtime_dispatches_total", by="adapter")}
            ),
            Panel("Time of adapters", quantiles("mixer_runtime_dispatch_duration_seconds"), "s"),
            Panel("Lines of access logs", {"all": rate("mixer_access_log_entries_total")}),
            Panel(
                "Series of the prometheus adapter",
                {
                    "held": "sum(mixer_prometheus_series)",
                    "dropped a second": rate("mixer_prometheus_series_dropped_total"),
                },
            ),
            Panel("Load that is shed", {"requests": rate("mixer_loadshedding_requests_throttled")}),
            *_process("Mixer", "policy|telemetry"),
        ],
        "Galley": [
            Panel("Objects by source", {"{{source}}": "sum(galley_source_objects) by (source)"}),
            Panel("Problems", {"{{source}}": "sum(galley_source_problems) by (source)"}),
            *_process("Galley", "galley"),
        ],
        "etcd": [
            Panel(
                "Members with a leader",
                {
                    "members": "sum(etcd_server_has_leader)",
                    "changes": rate("etcd_server_leader_changes_seen_total"),
                },
            ),
            Panel("Size", {"{{pod}}": "sum(etcd_mvcc_db_total_size_in_bytes) by (pod)"}, "bytes"),
            Panel("Time to write", quantiles("etcd_disk_wal_fsync_duration_seconds"), "s"),
            Panel("Time between members", quantiles(f"{_PEERS}_time_seconds"), "s"),
        ],
    },
)
WEBHOOKS: Final = Dashboard(
    "Mast webhooks",
    {
        "Validation": [
            Panel("Accepted", {"{{resource}}": rate("galley_validation_passed", by="resource")}),
            Panel(
                "Refused",
                {
                    "{{resource}}: {{reason}}": rate(
                        "galley_validation_failed", by="resource, reason"
                    )
                },
            ),
            Panel("Not understood", {"{{status}}": rate(f"{_JUDGED}_http_error", by="status")}),
            Panel(
                "Configurations of webhooks",
                {
                    "written": rate("galley_validation_config_updates"),
                    "not written": rate("galley_validation_config_update_error"),
                },
            ),
        ],
        "Injection": [
            Panel(
                "Pods",
                {
                    "asked about": rate("sidecar_injection_requests_total"),
                    "injected": rate("sidecar_injection_success_total"),
                    "refused": rate("sidecar_injection_failure_total"),
                    "left alone": rate("sidecar_injection_skip_total"),
                },
            ),
            Panel("Time", quantiles("sidecar_injection_time_seconds"), "s"),
        ],
    },
)

ALL: Final[Mapping[str, Dashboard]] = {
    "mesh": MESH,
    "service": SERVICE,
    "workload": WORKLOAD,
    "control-plane": CONTROL_PLANE,
    "webhooks": WEBHOOKS,
}


def texts() -> dict[str, str]:
    """Dashboards as Grafana reads them, by name."""
    return {
        name: json.dumps(_json(name, each), indent=1, ensure_ascii=False) + "\n"
        for name, each in ALL.items()
    }


def _json(name: str, dashboard: Dashboard) -> Json:
    panels: list[Json] = []
    top = 0
    for title, row in dashboard.rows.items():
        place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place})
        top += 1
        for at, panel in enumerate(row):
            half = _WIDTH // 2
            place = {"h": _HEIGHT, "w": half, "x": at % 2 * half, "y": top + at // 2 * _HEIGHT}
            panels.append(_panel(len(panels) + 1, panel, place))
        top += (len(row) + 1) // 2 * _HEIGHT
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}
    return {
        "uid": f"mast-{name}",
        "title": dashboard.title,
        "tags": ["mast"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, *map(_choice, dashboard.choices)]},
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: Json) -> Json:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for at, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        **({"description": panel.about} if panel.about else {}),
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": targets,
    }


def _choice(choice: Choice) -> Json:
    return {
        "name": choice.name,
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values({choice.metric}, {choice.label})",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "sort": 1,
    }
