"""One StreamSecrets stream as a state machine: subscription, versions, nonces (xDS, SotW)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from mast.agent.core import secrets
from mast.agent.core.messages import packed


class Received(Enum):
    """What a request meant."""

    SUBSCRIBED = auto()
    ACKNOWLEDGED = auto()
    REJECTED = auto()
    STALE = auto()


@dataclass(slots=True)
class SdsSession:
    """The subscription of one stream. Envoy opens a stream per name; more names work too."""

    names: frozenset[str] = frozenset()
    node_id: str = ""
    rejection: str = ""
    acknowledged: str = ""
    _nonce: str = ""
    _version: str = ""
    _sent: dict[str, str] = field(default_factory=dict)
    _count: int = 0
    _answered: bool = False

    def receive(self, request: DiscoveryRequest) -> Received:
        """Record a request (xDS protocol, "ACK/NACK"); the node stands in the first only.

        Raises UnknownSecret for a name that is not ours and for a foreign type URL.
        """
        if request.node.id:
            self.node_id = request.node.id
        if request.type_url != secrets.TYPE_URL:
            raise secrets.UnknownSecret(f"type URL {request.type_url!r}: want {secrets.TYPE_URL}")
        if request.response_nonce and request.response_nonce != self._nonce:
            return Received.STALE
        for name in request.resource_names:
            secrets.secret_name(name)
        self._answered = bool(request.response_nonce)
        added = frozenset(request.resource_names) - self.names
        self.names = frozenset(request.resource_names)
        self._sent = {name: self._sent[name] for name in self._sent if name in self.names}
        if request.response_nonce and request.HasField("error_detail"):
            self.rejection = request.error_detail.message
            return Received.REJECTED
        if request.response_nonce and not added:
            self.rejection, self.acknowledged = "", self._version
            return Received.ACKNOWLEDGED
        return Received.SUBSCRIBED

    def settled(self, secret: Secret) -> bool:
        """Nothing about this secret is open: not subscribed, or its version was answered."""
        if secret.name not in self.names:
            return True
        return self._answered and self._sent.get(secret.name) == secrets.version(secret)

    def respond(self, known: Mapping[str, Secret]) -> DiscoveryResponse | None:
        """The next response, None if nothing is due: something unknown, or nothing new.

        State of the world: a response names every subscribed secret.
        """
        if not self.names or any(name not in known for name in self.names):
            return None
        current = {name: secrets.version(known[name]) for name in sorted(self.names)}
        if current == self._sent:
            return None
        self._sent, self._answered = current, False
        self._count += 1
        self._version = "-".join(current.values())
        self._nonce = f"{self._count}-{self._version}"
        return DiscoveryResponse(
            version_info=self._version,
            nonce=self._nonce,
            type_url=secrets.TYPE_URL,
            resources=[packed(known[name]) for name in sorted(self.names)],
        )
