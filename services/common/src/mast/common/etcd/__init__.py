"""etcd for asyncio services: the only way Mast reads and writes shared state."""

from mast.common.etcd.election import Leadership
from mast.common.etcd.lease import Lease
from mast.common.etcd.model import (
    Batch,
    Change,
    Compacted,
    Compare,
    Conflict,
    Delete,
    Entry,
    EtcdConfig,
    EtcdError,
    EtcdFlags,
    Health,
    Listing,
    Put,
    Rejected,
    Target,
    TxnResult,
    Unavailable,
    etcd_config,
)
from mast.common.etcd.store import Store, connect

__all__ = [
    "Batch",
    "Change",
    "Compacted",
    "Compare",
    "Conflict",
    "Delete",
    "Entry",
    "EtcdConfig",
    "EtcdError",
    "EtcdFlags",
    "Health",
    "Leadership",
    "Lease",
    "Listing",
    "Put",
    "Rejected",
    "Store",
    "Target",
    "TxnResult",
    "Unavailable",
    "connect",
    "etcd_config",
]
