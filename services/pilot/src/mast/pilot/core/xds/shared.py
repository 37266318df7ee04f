"""What sessions have in common: work already done, and what their clients taught."""

from collections.abc import Callable

from mast.pilot.core.xds.experience import Experiences
from mast.pilot.core.xds.responses import Responses
from mast.pilot.core.xds.selections import Selections


class Shared:
    """What the sessions of one protocol share: work already done, and the number of messages."""

    def __init__(
        self,
        responses: Responses,
        fresh: Callable[[], int],
        experiences: Experiences | None = None,
    ) -> None:
        """`experiences` may be shared with the other protocol; they age apart."""
        self.experiences = experiences or Experiences()
        self.responses = responses
        self.selections = Selections()
        self.fresh = fresh

    def age(self) -> None:
        """Begin a push: forget what no session has used since the last but one."""
        self.responses.age()
        self.selections.age()
