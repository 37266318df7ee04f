"""DestinationRules: their hosts, what their subsets select, and TLS that trusts anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mast.galley.core.analysis import kinds, services, workloads
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.services import SERVICES, Service, fqdn
from mast.galley.core.analysis.snapshot import Message, View
from mast.galley.core.analysis.workloads import WORKLOADS, Workloads
from mast.galley.core.problem import Path

_UNKNOWN_HOST = "IST0174"
_EMPTY_SUBSET = "IST0173"
_UNCHECKED, _UNCHECKED_PORT = "IST0128", "IST0129"
_SPEC: Path = ("spec",)

# Labels that endpoints get from where they run (D2.4), not from their pods.
_ADDED = frozenset(
    {
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "topology.istio.io/subzone",
        "topology.istio.io/cluster",
        "topology.istio.io/network",
        "kubernetes.io/hostname",
    }
)


def _hosts(view: View) -> Iterator[Message]:
    known = view.fact(SERVICES)
    for item in view.of(kinds.DESTINATION_RULE):
        host = fqdn(item.body.host, item.namespace, view.domain)
        lookup = known.within if host.startswith("*") else known.named
        if host and not lookup(host, item.namespace):
            text = f"the mesh knows no service of host {item.body.host!r}"
            yield Message(_UNKNOWN_HOST, item, text, (*_SPEC, "host"))


def _subsets(view: View) -> Iterator[Message]:
    known, running = view.fact(SERVICES), view.fact(WORKLOADS)
    for item in view.of(kinds.DESTINATION_RULE):
        host = fqdn(item.body.host, item.namespace, view.domain)
        found = known.named(host, item.namespace)
        if not found:
            continue
        for index, subset in enumerate(item.body.subsets):
            wanted = {key: text for key, text in subset.labels.items() if key not in _ADDED}
            if wanted and not any(_selects(each, wanted, running) for each in found):
                shown = ", ".join(f"{key}={text}" for key, text in sorted(wanted.items()))
                text = f"subset {subset.name!r} selects nothing of {host}: {shown}"
                yield Message(_EMPTY_SUBSET, item, text, (*_SPEC, "subsets", index, "labels"))


def _selects(service: Service, labels: Mapping[str, str], running: Workloads) -> bool:
    """Whether a subset may have endpoints; what no labels are known of may have any."""
    if service.endpoints is not None:
        return not service.endpoints or any(
            labels.items() <= each.items() for each in service.endpoints
        )
    if not service.selector:
        return True
    return any(
        labels.items() <= each.labels.items()
        for each in running.selected(service.selector, service.namespace)
    )


def _policies(rule: Any) -> Iterator[tuple[Path, Any]]:
    if rule.HasField("traffic_policy"):
        yield (*_SPEC, "trafficPolicy"), rule.traffic_policy
    for index, subset in enumerate(rule.subsets):
        if subset.HasField("traffic_policy"):
            yield (*_SPEC, "subsets", index, "trafficPolicy"), subset.traffic_policy


def _verification(view: View) -> Iterator[Message]:
    for item in view.of(kinds.DESTINATION_RULE):
        host, selects = item.body.host, item.body.HasField("workload_selector")
        for path, policy in _policies(item.body):
            if _trusts_anybody(policy.tls, selects=selects):
                text = f"servers of {host!r} are not checked: TLS without caCertificates"
                yield Message(_UNCHECKED, item, text, (*path, "tls"))
            for index, port in enumerate(policy.port_level_settings):
                if _trusts_anybody(port.tls, selects=selects):
                    text = (
                        f"servers of {host!r}, port {port.port.number}, are not checked: "
                        "TLS without caCertificates"
                    )
                    at = (*path, "portLevelSettings", index, "tls")
                    yield Message(_UNCHECKED_PORT, item, text, at)


def _trusts_anybody(tls: Any, *, selects: bool) -> bool:
    """TLS to a server whose certificate is taken unseen, without anybody saying so.

    Secrets are for gateways, and for the sidecars that a rule selects.
    """
    return (
        tls.mode in {tls.SIMPLE, tls.MUTUAL}
        and not tls.ca_certificates
        and not (tls.credential_name and selects)
        and not tls.insecure_skip_verify.value
    )


ANALYZERS = (
    Analyzer(
        "destinationrule.hosts",
        "Hosts of DestinationRules are known.",
        frozenset({_UNKNOWN_HOST}),
        frozenset({kinds.DESTINATION_RULE}) | services.KINDS,
        _hosts,
    ),
    Analyzer(
        "destinationrule.subsets",
        "Subsets have workloads.",
        frozenset({_EMPTY_SUBSET}),
        frozenset({kinds.DESTINATION_RULE}) | services.KINDS | workloads.KINDS,
        _subsets,
    ),
    Analyzer(
        "destinationrule.verification",
        "Clients of TLS know whom to trust.",
        frozenset({_UNCHECKED, _UNCHECKED_PORT}),
        frozenset({kinds.DESTINATION_RULE}),
        _verification,
    ),
)
