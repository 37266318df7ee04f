"""When published keys are fetched again, and what is remembered of a fetch (pilot.md J3, N15)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from mast.common.backoff import Backoff
from mast.common.jwks import KeySet
from mast.pilot.core.model.public_keys import KeySource
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys

REFRESH: Final = timedelta(minutes=20)
_FIRST_RETRY: Final = timedelta(seconds=1)
_LAST_RETRY: Final = timedelta(seconds=60)


def fetched(source: KeySource, keys: KeySet, now: datetime) -> PublishedKeys:
    """The record of a fetch that succeeded: the keys that can be used, what of them cannot."""
    made = PublishedKeys(
        jwks_uri=source.jwks_uri,
        issuer=source.issuer,
        keys=keys.text,
        defects=[f"{each.where} {each.message}" for each in keys.defects if each.fatal],
    )
    made.fetched.FromDatetime(now)
    return made


def failed(
    source: KeySource, before: PublishedKeys | None, reason: str, now: datetime
) -> PublishedKeys:
    """The record of a fetch that failed: the keys stay what they were."""
    made = PublishedKeys(jwks_uri=source.jwks_uri, issuer=source.issuer)
    if before is not None:
        made.CopyFrom(before)
    if not made.HasField("failing_since"):
        made.failing_since.FromDatetime(now)
    made.failure = reason
    return made


@dataclass
class Schedule:
    """Which sources are due when; one task at a time owns it.

    A source is fetched at once, then every `refresh`; after a failure with growing delays of a
    second to a minute. What is not wanted any more is kept for one `refresh`: policies that are
    replaced must not lose their keys while the issuer is away.
    """

    refresh: timedelta = REFRESH
    _due: dict[KeySource, datetime] = field(default_factory=dict)
    _running: set[KeySource] = field(default_factory=set)
    _retries: dict[KeySource, Backoff] = field(default_factory=dict)
    _unwanted: dict[KeySource, datetime] = field(default_factory=dict)

    def want(
        self,
        sources: Mapping[KeySource, object],
        records: Mapping[KeySource, PublishedKeys],
        now: datetime,
    ) -> None:
        """These are the sources that policies need, and what is known of any source."""
        for source in self._due.keys() - sources.keys():
            del self._due[source]
            self._retries.pop(source, None)
        for source in sources.keys() - self._due.keys():
            self._due[source] = self._first(records.get(source), now)
        for source in sources:
            self._unwanted.pop(source, None)
        for source in records.keys() - sources.keys():
            self._unwanted.setdefault(source, now)

    def due(self, now: datetime) -> Sequence[KeySource]:
        """What is to be fetched now, sorted."""
        return sorted(source for source, at in self._planned.items() if at <= now)

    def outdated(self, now: datetime) -> Sequence[KeySource]:
        """Records to be deleted: nobody has wanted them for long, sorted."""
        limit = now - self.refresh
        return sorted(source for source, since in self._unwanted.items() if since <= limit)

    def deleted(self, source: KeySource) -> None:
        """There is no record any more."""
        self._unwanted.pop(source, None)

    def begun(self, source: KeySource) -> None:
        """It is being fetched: not due until that ends."""
        self._running.add(source)

    def ended(self, source: KeySource, now: datetime, random: float, *, success: bool) -> None:
        """A fetch has ended; `random` in [0, 1) spreads the next one."""
        self._running.discard(source)
        if source not in self._due:
            return
        if success:
            self._retries.pop(source, None)
            self._due[source] = now + self.refresh * (0.95 + random / 10)
        else:
            retries = self._retries.setdefault(source, Backoff(_FIRST_RETRY, _LAST_RETRY))
            self._due[source] = now + min(retries.next(random), self.refresh)

    def next(self) -> datetime | None:
        """When something is to be done next, None if nothing is planned."""
        deletions = (since + self.refresh for since in self._unwanted.values())
        return min((*self._planned.values(), *deletions), default=None)

    @property
    def _planned(self) -> Mapping[KeySource, datetime]:
        """When what is not being fetched is due."""
        return {each: at for each, at in self._due.items() if each not in self._running}

    def _first(self, record: PublishedKeys | None, now: datetime) -> datetime:
        """A new leader goes on where the last one was; what fails is tried at once."""
        if record is None or record.failure or not record.HasField("fetched"):
            return now
        return min(record.fetched.ToDatetime(tzinfo=UTC), now) + self.refresh
