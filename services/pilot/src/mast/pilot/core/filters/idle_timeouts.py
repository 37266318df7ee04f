"""How long a proxy keeps connections that carry nothing (pilot.md A, IDLE_TIMEOUT)."""

from contextlib import suppress
from datetime import timedelta

from mast.common.process.settings import duration
from mast.pilot.core.model.proxy import Proxy


def idle_timeout(proxy: Proxy) -> timedelta | None:
    """The node metadata `IDLE_TIMEOUT`, such as `1h` or `30s`; None if absent, zero or no duration.

    Without one Envoy's default of an hour holds.
    """
    with suppress(ValueError):
        return duration(proxy.text("IDLE_TIMEOUT")) or None
    return None
