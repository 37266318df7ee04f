"""Envoy's side of an xDS stream as it was observed (pilot.md B1 to B8), in memory.

The model keeps what Envoy keeps: active and warming clusters, endpoints, listeners, routes. It
reads real responses and writes real requests, which wait in order in a queue until a test delivers
them. A resource whose body contains `BAD` is rejected.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, content_version
from tests.fakes.xds_streams import MESSAGES

BAD = b"bad"


@dataclass(frozen=True)
class Seen:
    """A resource as Envoy got it."""

    name: str
    version: str
    message: Any
    bad: bool


@dataclass
class Subscription:
    """What Envoy's mux knows of one type on the current stream."""

    nonce: str = ""
    version: str = ""
    names: frozenset[str] = frozenset()
    asked: bool = False
    withheld: list[Any] = field(default_factory=list)


@dataclass
class EnvoyModel:
    """One Envoy; `delta` chooses the protocol. Requests to deliver are in `requests`."""

    delta: bool
    clusters: dict[str, Seen] = field(default_factory=dict)
    warming: dict[str, Seen] = field(default_factory=dict)
    endpoints: dict[str, Seen] = field(default_factory=dict)
    listeners: dict[str, Seen] = field(default_factory=dict)
    routes: dict[str, Seen] = field(default_factory=dict)
    started: bool = False
    rejected: list[tuple[str, frozenset[tuple[str, str]]]] = field(default_factory=list)
    requests: deque[Any] = field(default_factory=deque)
    types: dict[str, Subscription] = field(default_factory=dict)

    def connect(self) -> None:
        """A new stream. While a cluster warms, clusters are not asked for (B6)."""
        self.requests.clear()
        versions = {url: each.version for url, each in self.types.items()}
        self.types = {
            url: Subscription(version=versions.get(url, "")) for url in (CDS, EDS, LDS, RDS)
        }
        if not self.started:
            self._ask(CDS)
            self._ask(EDS)
            return
        self._ask(EDS)
        self._ask(LDS)
        self._ask(RDS)
        if not self.warming:
            self._ask(CDS)

    @property
    def wanted_endpoints(self) -> frozenset[str]:
        """EDS names that the clusters need."""
        both = {**self.clusters, **self.warming}
        return frozenset(name for name, each in both.items() if each.message.type == 3)

    @property
    def wanted_routes(self) -> frozenset[str]:
        """Route configurations that the listeners need: first word of their stat prefix here."""
        prefixes = (each.message.stat_prefix.split(" ")[0] for each in self.listeners.values())
        return frozenset(filter(None, prefixes))

    @property
    def broken_routes(self) -> set[str]:
        """Clusters that requests are routed to and that are not there: they fail (N4)."""
        targets = {
            self.routes[name].message.virtual_hosts[0].routes[0].route.cluster
            for name in self.wanted_routes
            if name in self.routes and self.routes[name].message.virtual_hosts
        }
        return targets - self.clusters.keys()

    def receive(self, payload: bytes) -> None:
        """Apply a response and answer it."""
        response: Any
        if self.delta:
            response = DeltaDiscoveryResponse.FromString(payload)
            packed = [each.resource for each in response.resources]
        else:
            response = DiscoveryResponse.FromString(payload)
            packed = list(response.resources)
        url = response.type_url
        got = [_seen(each) for each in packed]
        bad = [each for each in got if each.bad]
        if bad:
            self.rejected.append((url, frozenset((each.name, each.version) for each in got)))
        apply = {CDS: self._clusters, EDS: self._endpoints, LDS: self._listeners, RDS: self._routes}
        removed = list(getattr(response, "removed_resources", ()))
        apply[url]([each for each in got if not each.bad], removed, bool(bad))
        self._answer(url, response, bad)
        self._after(url)

    def _clusters(self, got: list[Seen], removed: list[str], failed: bool) -> None:
        """A changed cluster warms; an unchanged one is left alone (B3)."""
        if not self.delta and not failed:
            removed = [
                name
                for name in {**self.clusters, **self.warming}
                if name not in {each.name for each in got}
            ]
        for name in removed:
            self.clusters.pop(name, None)
            self.warming.pop(name, None)
            self.endpoints.pop(name, None)
        for each in got:
            current = self.warming.get(each.name) or self.clusters.get(each.name)
            if current is not None and current.version == each.version:
                continue
            self.warming.pop(each.name, None)
            if each.message.type == 3:
                self.warming[each.name] = each
            else:
                self.clusters[each.name] = each

    def _endpoints(self, got: list[Seen], removed: list[str], failed: bool) -> None:
        """Any answer ends the warming of a cluster; a rejection ends that of all (B2, B3)."""
        for each in got:
            if each.name in self.wanted_endpoints:
                self.endpoints[each.name] = each
        done = set(self.warming) if failed else {each.name for each in got} | set(removed)
        for name in done & self.warming.keys():
            self.clusters[name] = self.warming.pop(name)

    def _listeners(self, got: list[Seen], removed: list[str], failed: bool) -> None:
        if not self.delta and not failed:
            names = {each.name for each in got}
            removed = [name for name in self.listeners if name not in names]
        for name in removed:
            self.listeners.pop(name, None)
        self.listeners.update((each.name, each) for each in got)

    def _routes(self, got: list[Seen], removed: list[str], failed: bool) -> None:
        """After a rejection the rest of the response is lost (B2)."""
        del removed
        if not failed:
            names = self.wanted_routes
            self.routes.update((each.name, each) for each in got if each.name in names)

    def _answer(self, url: str, response: Any, bad: list[Seen]) -> None:
        """ACK or NACK; that of clusters waits until nothing warms, except at the start (B3)."""
        state = self.types[url]
        state.nonce = response.nonce
        request = self._request(url)
        request.response_nonce = response.nonce
        if bad:
            request.error_detail.code = 3
            request.error_detail.message = "no good: " + (
                f"Error adding/updating cluster(s) {', '.join(f'{each.name}: bad' for each in bad)}"
                if url == CDS
                else "bad"
            )
        elif not self.delta:
            state.version = request.version_info = response.version_info
        if url == CDS and self.started and self.warming:
            state.withheld.append(request)
        else:
            self.requests.append(request)

    def _after(self, url: str) -> None:
        """What a response leads to: subscriptions, and acknowledgements that were kept back."""
        endpoints = self.types[EDS]
        rewarmed = url == CDS and not self.delta and self.warming
        if endpoints.names != self.wanted_endpoints or not endpoints.asked or rewarmed:
            self._ask(EDS)
        if not self.started and not self.warming:
            self.started = True
            self._ask(LDS)
        if self.started and self.types[RDS].names != self.wanted_routes:
            self.routes = {n: each for n, each in self.routes.items() if n in self.wanted_routes}
            self._ask(RDS)
        if self.started and not self.warming:
            clusters = self.types[CDS]
            if not clusters.asked:
                self._ask(CDS)
            self.requests.extend(clusters.withheld)
            clusters.withheld.clear()

    def _ask(self, url: str) -> None:
        state = self.types[url]
        names = {EDS: self.wanted_endpoints, RDS: self.wanted_routes}.get(url, frozenset())
        if url in (EDS, RDS) and not names and not state.names:
            return
        request = self._request(url)
        if self.delta:
            request.resource_names_subscribe.extend(sorted(names - state.names))
            request.resource_names_unsubscribe.extend(sorted(state.names - names))
            if not state.asked:
                held: dict[str, Seen] = {
                    CDS: {**self.clusters, **self.warming},
                    EDS: self.endpoints,
                    LDS: self.listeners,
                    RDS: self.routes,
                }[url]
                request.initial_resource_versions.update(
                    (name, each.version)
                    for name, each in held.items()
                    if url in (CDS, LDS) or name in names
                )
                request.response_nonce = state.nonce
        else:
            request.response_nonce = state.nonce
        state.names = names
        state.asked = True
        if not self.delta:
            del request.resource_names[:]
            request.resource_names.extend(sorted(names))
        self.requests.append(request)

    def _request(self, url: str) -> Any:
        if self.delta:
            return DeltaDiscoveryRequest(type_url=url)
        state = self.types[url]
        return DiscoveryRequest(
            type_url=url, version_info=state.version, resource_names=sorted(state.names)
        )


def _seen(packed: Any) -> Seen:
    kind, name_field = MESSAGES[packed.type_url]
    message = kind.FromString(packed.value)
    return Seen(
        getattr(message, name_field), content_version(packed.value), message, BAD in packed.value
    )
