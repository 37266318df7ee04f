"""Fakes for Citadel's API tests: join tokens in memory, an issuance around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mast.citadel.api.impersonating import Impersonation
from mast.citadel.api.issuance import Issuance
from mast.citadel.api.metrics import CitadelMetrics
from mast.citadel.api.signing import OwnSigning
from mast.citadel.core.authn import OneUse
from mast.citadel.core.authority import Authority
from mast.citadel.core.join_tokens import new_record, token_key
from mast.citadel.core.leaf import TtlPolicy
from mast.common.etcd import Unavailable
from mast.common.identity.spiffe import SpiffeId
from mast.common.process.telemetry import Metrics
from mastapi.citadel.v1 import citadel_pb2, issued_pb2
from tests.unit.citadel.examples import DOMAIN, NOW, authority


@dataclass
class Clock:
    """Wall clock and monotonic clock that tests move."""

    time: datetime = NOW

    def __call__(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return (self.time - NOW).total_seconds() + 1000.0


@dataclass
class FakeTokens:
    """Join tokens as ``store.join_tokens.JoinTokens`` keeps them; ``down`` as etcd may be."""

    records: dict[str, tuple[citadel_pb2.JoinTokenRecord, int]] = field(default_factory=dict)
    down: bool = False
    used: list[OneUse] = field(default_factory=list)
    revision: int = 0

    def give(self, token: str, identity: SpiffeId, ttl: timedelta, now: datetime = NOW) -> None:
        self.revision += 1
        self.records[token_key(token)] = (new_record(identity, ttl, now), self.revision)

    async def add(self, token: str, record: citadel_pb2.JoinTokenRecord) -> None:
        self._answer()
        self.revision += 1
        self.records[token_key(token)] = (record, self.revision)

    async def find(self, token: str) -> tuple[citadel_pb2.JoinTokenRecord, OneUse] | None:
        self._answer()
        key = token_key(token)
        if key not in self.records:
            return None
        record, revision = self.records[key]
        return record, OneUse(key, revision)

    async def use(self, token: OneUse) -> bool:
        self._answer()
        self.used.append(token)
        found = self.records.get(token.key)
        if found is None or found[1] != token.revision:
            return False
        del self.records[token.key]
        return True

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("get", "127.0.0.1:2379", "connection refused")


@dataclass
class Desk:
    """An issuance and everything that it was made of."""

    clock: Clock = field(default_factory=Clock)
    tokens: FakeTokens = field(default_factory=FakeTokens)
    metrics: Metrics = field(default_factory=lambda: Metrics("citadel"))
    authority: Authority | None = field(default_factory=authority)
    recorded: list[issued_pb2.IssuedCertificate] = field(default_factory=list)

    def issuance(self, **changes: Any) -> Issuance:
        serials = iter(range(1, 1000))
        entropy: Callable[[int], bytes] = lambda size: next(serials).to_bytes(size)  # noqa: E731
        signing = OwnSigning(
            authority=lambda: self.authority,
            now=self.clock,
            entropy=entropy,
            policy=changes.pop("policy", TtlPolicy()),
        )
        settings: dict[str, Any] = {
            "signing": signing,
            "use": self.tokens.use,
            "record": self.recorded.append,
            "monotonic": self.clock.monotonic,
            "metrics": CitadelMetrics(self.metrics),
            "impersonation": Impersonation(DOMAIN),
        }
        return Issuance(**(settings | changes))

    def counted(self, name: str) -> float:
        """The sum of a metric's series."""
        lines = self.metrics.render().splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.split("{")[0].split(" ")[0] == name
        )
