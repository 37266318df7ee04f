"""Between etcd's messages and ours; the root is put before keys and taken off again."""

from __future__ import annotations

from collections.abc import Sequence

from mast.common.etcd.model import Compare, Delete, Entry, Put
from mast.common.etcd.stubs import increment_last_byte, kv_pb2, rpc_pb2, transactions


class Codec:
    """Translates under one root, e.g. ``/mast``."""

    def __init__(self, root: str) -> None:
        self._root = f"{root}/"
        self._cut = len(self._root.encode())

    def key(self, key: str) -> bytes:
        """The full key."""
        return (self._root + key).encode(errors="surrogateescape")

    def name(self, full: bytes) -> str:
        """The key relative to the root."""
        return full[self._cut :].decode(errors="surrogateescape")

    def range(self, key: str, *, prefix: bool) -> tuple[bytes, bytes]:
        """``key`` and ``range_end`` of a request for one key or for all that begin with it."""
        start = self.key(key)
        return start, increment_last_byte(start) if prefix else b""

    def entry(self, kv: kv_pb2.KeyValue) -> Entry:
        """An entry from what a range or an event holds."""
        return Entry(
            self.name(kv.key), kv.value, kv.mod_revision, kv.create_revision, kv.version, kv.lease
        )

    def event(self, event: kv_pb2.Event) -> tuple[str, int, Entry | None]:
        """Key, revision and new entry (None: deleted) of a watch event."""
        if event.type == kv_pb2.Event.DELETE:
            return self.name(event.kv.key), event.kv.mod_revision, None
        entry = self.entry(event.kv)
        return entry.key, entry.mod_revision, entry

    def compare(self, condition: Compare) -> rpc_pb2.Compare:
        """A transaction's condition."""
        built = getattr(transactions, condition.target.value)(self.key(condition.key))
        message: rpc_pb2.Compare = (built == condition.value).build_message()
        return message

    def op(self, op: Put | Delete) -> rpc_pb2.RequestOp:
        """A transaction's operation."""
        if isinstance(op, Put):
            put = rpc_pb2.PutRequest(key=self.key(op.key), value=op.value, lease=op.lease)
            return rpc_pb2.RequestOp(request_put=put)
        key, end = self.range(op.key, prefix=op.prefix)
        delete = rpc_pb2.DeleteRangeRequest(key=key, range_end=end)
        return rpc_pb2.RequestOp(request_delete_range=delete)

    def gets(self, keys: Sequence[str], revision: int) -> rpc_pb2.TxnRequest:
        """A transaction that reads some keys at one revision; 0 stands for now."""
        ranges = (rpc_pb2.RangeRequest(key=self.key(key), revision=revision) for key in keys)
        return rpc_pb2.TxnRequest(
            success=[rpc_pb2.RequestOp(request_range=request) for request in ranges]
        )

    def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[Put | Delete],
        failure: Sequence[Put | Delete],
    ) -> rpc_pb2.TxnRequest:
        """A whole transaction."""
        return rpc_pb2.TxnRequest(
            compare=map(self.compare, compares),
            success=map(self.op, success),
            failure=map(self.op, failure),
        )
