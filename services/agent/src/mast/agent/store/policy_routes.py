"""What ``ip`` sets beside the rules: TPROXY's policy routes, the proxy's IPv6 source (C2, C5)."""

from collections.abc import Sequence

import structlog

from mast.agent.core.capture import Capture, Family
from mast.agent.core.restore import ip_commands
from mast.agent.store.programs import run, succeeds

log = structlog.get_logger()

_ALREADY = ("File exists", "already assigned")


def add(capture: Capture, families: Sequence[Family]) -> None:
    """Set what is missing; what is there already is fine."""
    for family in families:
        for command in ip_commands(capture, family, "add"):
            run(command, tolerate=_ALREADY)


def remove(capture: Capture, families: Sequence[Family]) -> None:
    """Take it away, as often as it is there."""
    for family in families:
        for command in ip_commands(capture, family, "del"):
            while succeeds(command):
                log.debug("capture.ip_removed", command=" ".join(command))
