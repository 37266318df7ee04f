"""One object for equal resources, so that views share bytes and comparing is cheap."""

from collections.abc import Iterable, Sequence
from weakref import WeakValueDictionary

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.message import Message

from mast.pilot.core.routes.listener_routes import route_configurations
from mast.pilot.core.xds.resources import Part, Resource, part, resource


class Originals:
    """Resources by type, name and version, as long as anybody holds them."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, str, str], Resource] = WeakValueDictionary()
        self._parts: WeakValueDictionary[str, Part] = WeakValueDictionary()

    def resource(
        self, name: str, type_url: str, message: Message, requires: Iterable[str] = ()
    ) -> Resource:
        """As the function of that name; the object made before if the content is the same."""
        return self.known(resource(name, type_url, message, requires))

    def known(self, made: Resource) -> Resource:
        """The object made before if it has the content of the given one."""
        return self._known.setdefault((made.type_url, made.name, made.version), made)

    def part(self, resources: Iterable[Resource]) -> Part:
        """As the function of that name; the object made before if it has the same resources."""
        made = part(resources)
        known = self._parts.setdefault(made.version, made)
        return known if known.resources.keys() == made.resources.keys() else made


def required(message: Message) -> Sequence[str]:
    """What Envoy asks for because of a message: endpoints, or routes (pilot.md B14, B17)."""
    match message:
        case Cluster() if message.HasField("eds_cluster_config"):
            return (message.eds_cluster_config.service_name or message.name,)
        case Listener():
            return tuple(route_configurations(message))
    return ()
