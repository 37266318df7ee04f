"""What became of patches while they were applied to one object."""

from mast.pilot.core.patches.patch import Patch, Skipped


class Record:
    """Patches that changed the object, and those that could not, with the reason."""

    def __init__(self) -> None:
        self.applied: dict[Patch, None] = {}
        self.skipped: dict[Patch, Skipped] = {}

    def apply(self, patch: Patch) -> None:
        """The patch changed something."""
        self.applied[patch] = None

    def skip(self, patch: Patch, reason: str) -> None:
        """The patch does not fit; the last reason counts."""
        self.skipped[patch] = Skipped(patch.name, patch.source, reason)
