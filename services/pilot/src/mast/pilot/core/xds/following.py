"""Whether a client has taken over what it was told."""

from mast.pilot.core.xds.session import Session


def follows(session: Session, generation: int) -> bool:
    """The client accepted everything of that generation of the mesh, or of a later one.

    What it rejects is not waited for.
    """
    return session.view.generation >= generation and all(
        watch.quiet or watch.error for watch in session.watches.values()
    )
