"""The state-of-the-world xDS protocol of one stream, as a state machine (pilot.md B9, B10)."""

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.outputs import Acked, Output, Rejected, Send, Stale
from mast.pilot.core.xds.resources import Resource, View, has_wildcard
from mast.pilot.core.xds.selection import NOTHING
from mast.pilot.core.xds.session import Session
from mast.pilot.core.xds.shared import Shared
from mast.pilot.core.xds.watch import Instant, Watch

WILDCARD = "*"


class SotwSession:
    """Requests in, responses out; see `Session` for what is sent when."""

    def __init__(
        self, proxy: Proxy, view: View, shared: Shared, *, withheld: frozenset[str] = NOTHING
    ) -> None:
        self.state = Session(proxy, view, shared, withheld=withheld)

    def receive(self, request: DiscoveryRequest, now: Instant) -> list[Output]:
        """Record a subscription, an ACK or a NACK, and answer it (B9, in its order).

        A watch that begins is always answered, a nonce of another stream means nothing here.
        """
        outputs: list[Output] = []
        watch = self.state.watches.get(request.type_url)
        names = frozenset(request.resource_names)
        if watch is not None and request.HasField("error_detail"):
            outputs.append(_reject(watch, request))
            self.state.rejected(watch)
        elif not names and not has_wildcard(request.type_url):
            self.state.close(request.type_url)
            return outputs
        elif watch is None or _begins(watch, request):
            watch = Watch(request.type_url, must_answer=True)
            self.state.open(watch, now, resumed=bool(request.version_info))
        elif request.response_nonce != watch.nonce:
            return [Stale(watch.type_url, request.response_nonce)]
        elif request.version_info == watch.sent_version:
            outputs += self._acknowledged(watch, request, now)
            self.state.claim(watch)
        _subscribe(watch, names)
        outputs += self.state.flush(now)
        return outputs

    def _acknowledged(self, watch: Watch, request: DiscoveryRequest, now: Instant) -> list[Output]:
        """An ACK, if the response is open: Envoy repeats the nonce when its names change."""
        response = watch.acknowledge(request.response_nonce, now)
        if response is None:
            return []
        watch.outstanding.clear()
        self.state.accepted(watch, response)
        return [Acked(watch.type_url, request.response_nonce)]

    def push(self, view: View, number: int, now: Instant, *, resend: bool = False) -> list[Send]:
        """See `Session.push`."""
        return self.state.push(view, number, now, resend=resend)

    def tell(self, type_url: str, resources: tuple[Resource, ...]) -> Send:
        """See `Session.tell`."""
        return self.state.tell(type_url, resources)

    def expire(self, now: Instant) -> list[Send]:
        """See `Session.expire`."""
        return self.state.expire(now)


def _begins(watch: Watch, request: DiscoveryRequest) -> bool:
    """A request without nonce begins a watch anew; so does the first one about clusters that were
    told unasked (B15), unless it answers just that response."""
    if not watch.requested and request.response_nonce != watch.nonce:
        return True
    return not request.response_nonce


def _reject(watch: Watch, request: DiscoveryRequest) -> Rejected:
    reason = request.error_detail.message
    response = watch.reject(request.response_nonce, reason)
    if request.response_nonce == watch.nonce:
        watch.outstanding.clear()
    names = response.changed if response is not None else ()
    return Rejected(
        watch.type_url, request.response_nonce, reason, tuple(each.name for each in names)
    )


def _subscribe(watch: Watch, names: frozenset[str]) -> None:
    """Lists of names are complete; none at all, for a type that allows it, means everything.

    Added names are sent whatever the client held of them. Fewer names need no answer.
    """
    wanted = names - {WILDCARD}
    if has_wildcard(watch.type_url) and not watch.names:
        watch.wildcard = WILDCARD in names or not names
    added = wanted - watch.names
    watch.names = wanted
    watch.forced = (watch.forced | added) & wanted
    watch.urgent = watch.urgent or bool(added)
