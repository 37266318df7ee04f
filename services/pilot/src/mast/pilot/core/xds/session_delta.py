"""The incremental xDS protocol of one stream, as a state machine (pilot.md B11 to B19)."""

from collections.abc import Mapping
from typing import Final

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.outputs import Acked, Output, Rejected, Send, Stale
from mast.pilot.core.xds.resources import Resource, View, has_wildcard
from mast.pilot.core.xds.selection import EMPTY_VERSIONS, NOTHING
from mast.pilot.core.xds.session import Session
from mast.pilot.core.xds.shared import Shared
from mast.pilot.core.xds.watch import Instant, Watch

WILDCARD: Final = "*"


class DeltaSession:
    """Requests in, responses out; see `Session` for what is sent when."""

    def __init__(
        self, proxy: Proxy, view: View, shared: Shared, *, withheld: frozenset[str] = NOTHING
    ) -> None:
        self.state = Session(proxy, view, shared, withheld=withheld)

    def receive(self, request: DeltaDiscoveryRequest, now: Instant) -> list[Output]:
        """Record a subscription, an ACK or a NACK, and answer it.

        Lists of names count even if the nonce is stale or the response was rejected (B11).
        """
        outputs: list[Output] = []
        watch = self.state.watches.get(request.type_url)
        if watch is None:
            watch = self._first(request, now)
        elif not watch.requested:
            watch = self._claimed(watch, request, now)
        if request.response_nonce:
            outputs.append(self._answered(watch, request, now))
        _subscribe(watch, request)
        outputs += self.state.flush(now)
        return outputs

    def _answered(self, watch: Watch, request: DeltaDiscoveryRequest, now: Instant) -> Output:
        """What became of the response with the nonce of a request."""
        nonce = request.response_nonce
        if request.HasField("error_detail"):
            reason = request.error_detail.message
            response = watch.reject(nonce, reason)
            self.state.rejected(watch)
            names = response.changed if response is not None else ()
            return Rejected(watch.type_url, nonce, reason, tuple(each.name for each in names))
        response = watch.acknowledge(nonce, now)
        if response is None:
            return Stale(watch.type_url, nonce)
        self.state.accepted(watch, response)
        return Acked(watch.type_url, nonce)

    def push(self, view: View, number: int, now: Instant, *, resend: bool = False) -> list[Send]:
        """See `Session.push`."""
        return self.state.push(view, number, now, resend=resend)

    def tell(self, type_url: str, resources: tuple[Resource, ...]) -> Send:
        """See `Session.tell`."""
        return self.state.tell(type_url, resources)

    def expire(self, now: Instant) -> list[Send]:
        """See `Session.expire`."""
        return self.state.expire(now)

    def _first(self, request: DeltaDiscoveryRequest, now: Instant) -> Watch:
        """The first message of a type on this stream.

        Without names, or with the name `*`, it asks for everything. What the client says it has is
        not sent again (B13), but a client that has nothing is answered even if there is nothing.
        """
        names = request.resource_names_subscribe
        initial = dict(request.initial_resource_versions)
        wildcard = has_wildcard(request.type_url) and (not names or WILDCARD in names)
        return self.state.open(
            Watch(
                request.type_url,
                names=NOTHING if wildcard else frozenset(initial),
                wildcard=wildcard,
                held=initial or EMPTY_VERSIONS,
                must_answer=wildcard and not initial,
            ),
            now,
            resumed=bool(initial),
        )

    def _claimed(self, watch: Watch, request: DeltaDiscoveryRequest, now: Instant) -> Watch:
        """The first message about clusters, which the client was told unasked (B15).

        If it carries our nonce the client has them: of what it had before, only what no longer
        exists matters.
        """
        if request.response_nonce not in watch.outstanding:
            return self._first(request, now)
        self.state.claim(watch)
        held: Mapping[str, str] = dict(request.initial_resource_versions)
        if held.keys() - watch.held.keys():
            watch.held = {**held, **watch.held}
            watch.settled = None
        return watch


def _subscribe(watch: Watch, request: DeltaDiscoveryRequest) -> None:
    """Add and drop names; a name that is subscribed again is sent again (B11)."""
    added = frozenset(request.resource_names_subscribe) - {WILDCARD}
    dropped = frozenset(request.resource_names_unsubscribe)
    if WILDCARD in request.resource_names_subscribe and has_wildcard(watch.type_url):
        watch.wildcard = True
    if WILDCARD in dropped:
        watch.wildcard = False
    if not added and not dropped:
        return
    watch.names = (watch.names | added) - dropped
    watch.forced = (watch.forced | (added - request.initial_resource_versions.keys())) - dropped
    watch.urgent = watch.urgent or bool(watch.forced)
