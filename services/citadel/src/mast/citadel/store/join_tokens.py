"""Join tokens in etcd: used up by a transaction, so that each serves once."""

from dataclasses import dataclass
from datetime import datetime

from mast.citadel.core.authn import OneUse
from mast.citadel.core.join_tokens import PREFIX, expired, token_key
from mast.common.etcd import Compare, Conflict, Delete, Store
from mastapi.citadel.v1 import citadel_pb2


@dataclass(frozen=True)
class JoinTokens:
    """Every call raises EtcdError if etcd does not answer."""

    store: Store

    async def add(self, token: str, record: citadel_pb2.JoinTokenRecord) -> None:
        """Keep the record of a new token, under the token's hash."""
        await self.store.compare_and_swap(token_key(token), record.SerializeToString(), 0)

    async def find(self, token: str) -> tuple[citadel_pb2.JoinTokenRecord, OneUse] | None:
        """The record of a token that nobody used so far."""
        entry = await self.store.get(token_key(token))
        if entry is None:
            return None
        record = citadel_pb2.JoinTokenRecord.FromString(entry.value)
        return record, OneUse(entry.key, entry.mod_revision)

    async def use(self, token: OneUse) -> bool:
        """Use it up: True for exactly one of all callers."""
        unused = Compare.unchanged(token.key, token.revision)
        return (await self.store.txn([unused], [Delete(token.key)])).succeeded

    async def prune(self, now: datetime) -> int:
        """Forget tokens that expired; returns how many."""
        pruned = 0
        for entry in (await self.store.list(PREFIX)).entries:
            record = citadel_pb2.JoinTokenRecord.FromString(entry.value)
            if expired(record, now):
                try:
                    pruned += await self.store.delete(entry.key, entry.mod_revision)
                except Conflict:
                    continue  # used or pruned by somebody else
        return pruned
