"""Who of the mesh trusts what is published: the sum of what the control plane reports (A8.5).

Pilot counts proxies by the sequence of the trust bundle that they confirmed; other services report
for themselves. Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from mastapi.status.v1.status_pb2 import TrustStatus

PILOT = "pilot-"
"""How the reporters that count proxies are called."""

SHOWN = 10
"""Names of those that lag behind; there may be thousands."""


@dataclass(frozen=True)
class Knowledge:
    """``holding`` of the ``connected`` confirmed the sequence asked for, or a later one.

    ``roots_only`` confirmed its roots, and do not act on what becomes of them; ``silent`` never
    confirm anything. ``reporters`` are those who count, ``youngest`` is since when the one that
    started last has counted.
    """

    connected: int = 0
    holding: int = 0
    roots_only: int = 0
    silent: int = 0
    lagging: tuple[str, ...] = ()
    reporters: tuple[str, ...] = ()
    youngest: datetime | None = None

    def missing(self, enough: float, *, roots: bool, silence_is_consent: bool) -> int:
        """How many more have to confirm until there are ``enough``, a share; 0: it is done.

        ``roots`` tells that it is enough to know the roots.
        """
        counted = self.holding + (self.roots_only if roots else 0)
        counted += self.silent if silence_is_consent else 0
        return max(0, ceil(self.connected * enough) - counted)


def knowledge(reports: Iterable[TrustStatus], trust_domain: str, sequence: int) -> Knowledge:
    """What all reports say about one trust domain and a sequence of its bundle."""
    ours = sorted(
        (each for each in reports if each.trust_domain == trust_domain), key=lambda r: r.reporter
    )
    holders = [(each.sequence, each.count) for report in ours for each in report.holders]
    others = [(each.sequence, each.count) for report in ours for each in report.roots_only]
    silent = sum(report.silent for report in ours)
    return Knowledge(
        connected=silent + sum(count for _, count in (*holders, *others)),
        holding=sum(count for held, count in holders if held >= sequence),
        roots_only=sum(count for held, count in others if held >= sequence),
        silent=silent,
        lagging=tuple(name for report in ours for name in report.lagging)[:SHOWN],
        reporters=tuple(report.reporter for report in ours),
        youngest=max((report.since.ToDatetime(tzinfo=UTC) for report in ours), default=None),
    )


def unsettled(known: Knowledge, now: datetime, settling: timedelta) -> str:
    """Why the numbers may not be whole yet, "" if they are."""
    if known.youngest is None or not any(each.startswith(PILOT) for each in known.reporters):
        return "no Pilot reports which proxies trust the roots of the mesh: is one running?"
    if now < known.youngest + settling:
        age = (now - known.youngest).total_seconds()
        return (
            f"a reporter started {max(age, 0):.0f} s ago, and proxies that it lost may not be back "
            f"before {settling.total_seconds():.0f} s"
        )
    return ""
