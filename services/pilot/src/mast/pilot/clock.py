"""The machine's clock: where time enters Pilot."""

import time
from datetime import UTC, datetime, timedelta

from mast.pilot.core.xds.watch import Instant


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The date; everything else is told it."""
        return datetime.now(tz=UTC)  # noqa: TID251

    def instant(self) -> Instant:
        """Time since the machine started."""
        return timedelta(seconds=time.monotonic())
