"""One xDS stream: what it was sent, what it acknowledged and what it must be sent next.

Neither protocol is spoken here: `session_sotw` and `session_delta` turn requests into changes of
watches and call `flush`, which looks at every watch in the order of a push and sends what its
client lacks and may have now. Nothing here reads a clock: time is an argument, and `deadline` says
when to call `expire`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.xds import found_hosts
from mast.pilot.core.xds.experience import TYPES, Experience
from mast.pilot.core.xds.no_view import NO_VIEW
from mast.pilot.core.xds.outputs import Send
from mast.pilot.core.xds.resources import (
    CDS,
    ECDS,
    EDS,
    LDS,
    RDS,
    SDS,
    VHDS,
    Resource,
    View,
    push_rank,
)
from mast.pilot.core.xds.responses import Response
from mast.pilot.core.xds.selection import (
    EMPTY_VERSIONS,
    NOTHING,
    Difference,
    Selection,
    Versions,
    required,
    whole,
)
from mast.pilot.core.xds.shared import Shared
from mast.pilot.core.xds.warming import Warming
from mast.pilot.core.xds.watch import Instant, Watch

REMOVAL_HOLD: Final = timedelta(seconds=5)
"""Cluster removals wait so long for listeners and routes to be acknowledged (pilot.md B17)."""

ADDITION_HOLD: Final = timedelta(seconds=1)
"""Listeners and routes wait so long for clusters that were added before them to be ready."""

RESUMPTION_HOLD: Final = timedelta(seconds=2)
"""On a new stream of a client that had others, they wait so long for clusters to be asked for."""


class Session:
    """The watches of one stream over the view it has now."""

    def __init__(
        self, proxy: Proxy, view: View, shared: Shared, *, withheld: frozenset[str] = NOTHING
    ) -> None:
        """`withheld` are types that this client may not see: every name of theirs is unknown."""
        self.proxy = proxy
        self.view = view
        self.watches: dict[str, Watch] = {}
        self._shared = shared
        self._encoder = shared.responses.encoder
        self._withheld = withheld
        self._stand_ins = NOTHING if proxy.proxyless else self._encoder.stand_ins
        self._push = -1
        self._numbers: dict[str, int] = {}
        self._owed = NOTHING
        self._removals_held_since: Instant | None = None
        self._gate: Instant | None = None
        self._resuming = False
        self._warming = Warming()
        self._missed: list[str] = []

    def open(self, watch: Watch, now: Instant, *, resumed: bool = False) -> Watch:
        """Begin a watch, in place of an older one of its type.

        `resumed` tells that the client had something on an older stream.
        """
        self.watches[watch.type_url] = watch
        if watch.type_url in TYPES:
            watch.trial.warn(self._experience.warning(watch.type_url))
        self.watches = dict(sorted(self.watches.items(), key=lambda item: push_rank(item[0])))
        if watch.type_url == CDS and watch.requested:
            self._warming.end()
        elif watch.type_url in (EDS, LDS) and CDS not in self.watches and self._can_warm:
            self._warming.begin(now)
        if resumed and watch.type_url in (LDS, RDS) and CDS not in self.watches and self._can_warm:
            self._resuming = True
            self._shut_gate(now + RESUMPTION_HOLD)
        return watch

    def close(self, type_url: str) -> None:
        """The client is no longer interested in the type."""
        self.watches.pop(type_url, None)

    def claim(self, watch: Watch) -> None:
        """The client asks for clusters it was told unasked (pilot.md B15)."""
        watch.requested = True
        if watch.type_url == CDS:
            self._warming.end()

    def accepted(self, watch: Watch, response: Response) -> None:
        """The client accepted a response: others of its class may have what is in it."""
        if watch.type_url in TYPES:
            self._shared.experiences.credit(self.view.key, response, response.changed)

    def rejected(self, watch: Watch) -> None:
        """The client rejected a response: new ones of its class do not get the offender (N14)."""
        if watch.type_url in TYPES:
            self._experience.refuse(watch.type_url, watch.trial.refused)

    @property
    def _experience(self) -> Experience:
        return self._shared.experiences.of(self.view.key)

    def push(self, view: View, number: int, now: Instant, *, resend: bool = False) -> list[Send]:
        """A new view: send what changed; with `resend` everything that is watched."""
        self.view = view
        self._push = number
        if resend:
            for watch in self.watches.values():
                watch.forced = frozenset(self._wanted(watch).versions)
        return self.flush(now)

    def tell(self, type_url: str, resources: tuple[Resource, ...]) -> Send:
        """An answer beside the watches: nobody keeps what was asked or told (pilot.md B28)."""
        response = self._encoder.response(type_url, resources, (), None)
        number = self._shared.fresh()
        return Send(type_url, response.nonce(number), response.payload(number), response.count)

    def resources(self, type_url: str) -> Iterable[Resource]:
        """What the client should hold of a type it watches, sorted by name."""
        watch = self.watches.get(type_url)
        return () if watch is None else self._wanted(watch).resources.values()

    def flush(self, now: Instant) -> list[Send]:
        """What the client lacks and may be sent now, in the order of a push (pilot.md B17)."""
        self._open_gate(now)
        sends: list[Send] = []
        for watch in self.watches.values():
            if watch.type_url == RDS:
                sends += self._release_hosts(now)
            sends += self._update(watch, now, removals=watch.type_url != CDS)
        sends += self._remove_clusters(now)
        return sends

    def missed(self) -> Sequence[str]:
        """Names of secrets that the client asked for and does not get, since the last call."""
        found, self._missed = self._missed, []
        return found

    @property
    def deadline(self) -> Instant | None:
        """When `expire` is to be called, if nothing happens before."""
        due = []
        if self._removals_held_since is not None:
            due.append(self._removals_held_since + REMOVAL_HOLD)
        if self._gate is not None:
            due.append(self._gate)
        if self._warming.deadline is not None:
            due.append(self._warming.deadline)
        return min(due, default=None)

    def expire(self, now: Instant) -> list[Send]:
        """Do what is due: see also `Warming`."""
        for with_clusters in self._warming.due(now):
            if with_clusters:
                self.open(Watch(CDS, wildcard=True, requested=False, must_answer=True), now)
            endpoints = self.watches.get(EDS)
            if endpoints is not None:
                endpoints.forced = endpoints.names
                endpoints.urgent = True
        return self.flush(now)

    @property
    def _can_warm(self) -> bool:
        kinds = (ProxyType.SIDECAR, ProxyType.ROUTER)
        return self.proxy.type in kinds and not self.proxy.proxyless

    def _update(self, watch: Watch, now: Instant, *, removals: bool) -> Iterator[Send]:
        """What the client lacks of one type; `removals` tells whether what must go may go now."""
        wanted = self._wanted(watch)
        forced = watch.forced
        if watch.type_url == EDS:
            forced |= self._owed & watch.names
        if wanted is watch.settled and not forced and not watch.must_answer:
            return
        if not self._may_send(watch):
            watch.settled = None
            return
        change = self._shared.selections.difference(watch.held, wanted, forced)
        if watch.type_url == SDS:
            self._missed += change.absent
        removed = change.removed if removals else change.absent
        watch.removals_held = bool(change.obsolete) and not removals
        changed, response = self._composed(watch, wanted, change, removed)
        if response is not None:
            yield self._send(watch, response, now)
            self._note_owed(watch, change, changed, removed)
            if watch.type_url == CDS and change.adds and self._can_warm:
                self._shut_gate(now + ADDITION_HOLD)
        watch.must_answer = watch.urgent = False
        watch.settle(wanted, change, changed)

    def _composed(
        self, watch: Watch, wanted: Selection, change: Difference, removed: tuple[str, ...]
    ) -> tuple[tuple[Resource, ...], Response | None]:
        """What may be sent of a change, and the response that says it, if anything is to be said.

        A full set can turn out to be one that was rejected before; then the part that is new in
        it is as guilty as if it had been rejected just now.
        """
        complete = self._complete(watch)
        told = removed if complete or self._tells_removals(watch) else ()
        empty = watch.must_answer and (complete or not self._encoder.complete)
        while True:
            changed = watch.trial.permitted(change.changed, wanted)
            if changed is not change.changed:
                changed += self._substitutes(watch, change)
            if watch.type_url == VHDS and change.absent:
                return changed, found_hosts.answer(self._encoder, change, changed)
            if not changed and not told and not empty:
                return changed, None
            full = self._full_set(watch, wanted, change, changed) if complete else None
            response = self._response(watch, change, changed, told, full)
            if not watch.trial.known_bad(response.version):
                return changed, response
            if not changed:
                return changed, None
            watch.trial.rejected(changed, response.version, "")

    def _substitutes(self, watch: Watch, change: Difference) -> tuple[Resource, ...]:
        """What proxies of this class took last in place of what another one rejected (N14)."""
        refused = watch.trial.refused
        for each in change.changed:
            if each.name in refused and refused[each.name].by_another:
                reason = refused[each.name].reason
                watch.error = f"{each.name} is left out, another proxy rejected it: {reason}"
        return self._experience.substitutes(change.changed, refused, watch.held)

    def _may_send(self, watch: Watch) -> bool:
        """Listeners and routes wait for added clusters. An answer waits for nothing else; a push
        waits for the acknowledgement of the last response of its type, but clusters do not: Envoy
        keeps theirs back while anything warms (pilot.md B4, B18)."""
        if watch.type_url in (LDS, RDS) and self._gate is not None:
            return False
        if watch.type_url == VHDS and self._routes_held:
            return False
        if watch.urgent or watch.must_answer:
            return True
        return not watch.outstanding or (watch.type_url == CDS and not watch.trial.running)

    @property
    def _routes_held(self) -> bool:
        """Routes of the current view are there that the client may not be sent now."""
        routes = self.watches.get(RDS)
        if routes is None or (self._gate is None and not routes.outstanding):
            return False
        return routes.settled is not self._wanted(routes)

    def _release_hosts(self, now: Instant) -> Iterator[Send]:
        """Take back virtual hosts that were asked for before routes come that have them (B25).

        Envoy refuses routes in which a domain stands twice. What they lose follows them.
        """
        watch = self.watches.get(VHDS)
        if watch is not None and not self._routes_held:
            wanted, selections = self._wanted(watch), self._shared.selections
            response = found_hosts.withdrawal(self._encoder, watch, wanted, selections)
            yield from (self._send(watch, response, now),) if response else ()

    def _shut_gate(self, until: Instant) -> None:
        """Keep listeners and routes back, but not longer than an earlier wait would."""
        if self._gate is None:
            self._gate = until

    def _open_gate(self, now: Instant) -> None:
        """Let listeners and routes go once clusters are acknowledged, or the wait is too long.

        Envoy acknowledges clusters when they are ready; before that a route to a new one fails.
        It may never be (B4).
        """
        if self._gate is None:
            return
        clusters = self.watches.get(CDS)
        ready = not self._resuming if clusters is None else not clusters.outstanding
        if ready or now >= self._gate:
            self._gate = None
            self._resuming = False

    def _complete(self, watch: Watch) -> bool:
        """Responses of the type carry the full set (pilot.md B9i, B10)."""
        if not self._encoder.complete:
            return False
        return watch.wildcard or self.proxy.proxyless or watch.type_url in (CDS, LDS)

    def _tells_removals(self, watch: Watch) -> bool:
        """The protocol can say that a name is gone; of extensions it must not (pilot.md B12)."""
        return not self._encoder.complete and watch.type_url != ECDS

    def _wanted(self, watch: Watch) -> Selection:
        selections = self._shared.selections
        watch.names = selections.canonical(watch.names)
        return selections.select(
            NO_VIEW if watch.type_url in self._withheld else self.view,
            watch.type_url,
            watch.names,
            wildcard=watch.wildcard,
            stand_ins=self._stand_ins,
        )

    def _full_set(
        self,
        watch: Watch,
        wanted: Selection,
        change: Difference,
        changed: tuple[Resource, ...],
    ) -> Mapping[str, Resource]:
        """The full set to send: with what must not go yet, and last good ones in place of bad."""
        if changed is not change.changed:
            full = dict(wanted.resources)
            for each in set(change.changed) - set(changed):
                del full[each.name]
                good = watch.accepted.get(each.name)
                others = self._experience.substitutes((each,), watch.trial.refused, EMPTY_VERSIONS)
                full.update((one.name, one) for one in ((good,) if good else others))
            wanted = whole(full)
        if not watch.removals_held:
            return wanted.resources
        return self._shared.selections.retaining(wanted, watch.full, change.obsolete)

    def _response(
        self,
        watch: Watch,
        change: Difference,
        changed: tuple[Resource, ...],
        removed: tuple[str, ...],
        full: Mapping[str, Resource] | None,
    ) -> Response:
        responses = self._shared.responses
        alike = isinstance(watch.held, Versions) and changed is change.changed
        make = responses.shared if alike else responses.single
        return make(watch.type_url, changed, removed, full)

    def _send(self, watch: Watch, response: Response, now: Instant) -> Send:
        """All sessions use the number of the push once per type, so that they send the same bytes;
        what comes later takes a number of its own."""
        in_push = self._push > self._numbers.get(watch.type_url, -1)
        number = self._push if in_push else self._shared.fresh()
        payload = response.shared_payload(number) if in_push else response.payload(number)
        nonce = response.nonce(number)
        self._numbers[watch.type_url] = number
        watch.sent(response, nonce, now)
        return Send(watch.type_url, nonce, payload, response.count)

    def _note_owed(
        self,
        watch: Watch,
        change: Difference,
        changed: tuple[Resource, ...],
        removed: tuple[str, ...],
    ) -> None:
        """Every cluster that is sent needs its endpoints after it, unchanged or not (B14)."""
        if watch.type_url == CDS:
            whole_change = changed is change.changed
            self._owed |= change.requires if whole_change else required(changed)
        elif watch.type_url == EDS and self._owed:
            self._owed -= {each.name for each in changed}.union(removed)

    def _remove_clusters(self, now: Instant) -> list[Send]:
        """Removals that were held back, once nothing can refer to the clusters (pilot.md B17)."""
        watch = self.watches.get(CDS)
        if watch is None or not watch.removals_held:
            self._removals_held_since = None
            return []
        if self._removals_held_since is None:
            self._removals_held_since = now
        if not self._routes_settled and now < self._removals_held_since + REMOVAL_HOLD:
            return []
        sends = list(self._update(watch, now, removals=True))
        self._removals_held_since = now if watch.removals_held else None
        return sends

    @property
    def _routes_settled(self) -> bool:
        """Listeners and routes of the current view are acknowledged, and so are the routes that
        these listeners have yet to ask for."""
        if self.proxy.proxyless:
            return True
        listeners, routes = self.watches.get(LDS), self.watches.get(RDS)
        if listeners is None or listeners.settled is None or not listeners.quiet:
            return False
        needed = listeners.settled.requires
        if routes is None:
            return not needed
        return routes.quiet and needed <= routes.names
