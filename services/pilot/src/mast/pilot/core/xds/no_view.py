"""The view of clients that see nothing of a type."""

from typing import Final

from mast.pilot.core.xds.resources import EMPTY, Collection, View


class _NoView:
    """The view of a client that may not see a type."""

    key = "nothing"
    generation = 0

    def family(self, type_url: str) -> None:
        """Unknown."""
        del type_url

    def renewed(self, type_url: str, since: int) -> None:
        """Unknown."""
        del type_url, since

    def collection(self, type_url: str) -> Collection:
        """Nothing."""
        del type_url
        return EMPTY

    def named(self, type_url: str, name: str) -> None:
        """Nothing."""
        del type_url, name


NO_VIEW: Final[View] = _NoView()
