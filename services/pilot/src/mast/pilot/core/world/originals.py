"""One object for equal resources, so that views share bytes and comparing is cheap."""

from collections.abc import Iterable
from weakref import WeakValueDictionary

from google.protobuf.message import Message

from mast.pilot.core.xds.resources import Resource, resource


class Originals:
    """Resources by type, name and version, as long as anybody holds them."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, str, str], Resource] = WeakValueDictionary()

    def resource(
        self, name: str, type_url: str, message: Message, requires: Iterable[str] = ()
    ) -> Resource:
        """As the function of that name; the object made before if the content is the same."""
        made = resource(name, type_url, message, requires)
        return self._known.setdefault((type_url, name, made.version), made)
