"""Virtual hosts that a client asks for by name, and how it is told what became of them (B25)."""

from mast.pilot.core.xds.resources import VHDS, Resource, unknown
from mast.pilot.core.xds.responses import Encoder, Response
from mast.pilot.core.xds.selection import GONE, NOTHING, Difference, Selection
from mast.pilot.core.xds.selections import Selections
from mast.pilot.core.xds.watch import Watch


def answer(encoder: Encoder, change: Difference, changed: tuple[Resource, ...]) -> Response:
    """What is there; of all else that was asked for, that it is not.

    A request waits for that, and a removal would leave it waiting.
    """
    nobody = tuple(unknown(VHDS, each) for each in change.absent)
    return encoder.response(VHDS, (*changed, *nobody), change.obsolete, None)


def withdrawal(
    encoder: Encoder, watch: Watch, wanted: Selection, selections: Selections
) -> Response | None:
    """What takes back all that is gone, from now on unknown to the client; None if nothing is."""
    if wanted is watch.settled:
        return None
    gone = selections.difference(watch.held, wanted, NOTHING).obsolete
    if not gone:
        return None
    watch.held = {**watch.held, **dict.fromkeys(gone, GONE)}
    return encoder.response(VHDS, (), gone, None)
