"""How far the clusters have got whose services are read (D3).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Sync(StrEnum):
    """How far a cluster has got, in the words of ``istioctl remote-clusters`` and two of ours."""

    SYNCING = "syncing"
    SYNCED = "synced"
    TIMEOUT = "timeout"
    IGNORED = "ignored"
    INVALID = "invalid"


class Status(NamedTuple):
    """A cluster, or what was meant to become one; ``secret`` is "" for the own one.

    ``detail`` says why it has not got further, or cannot be reached at the moment.
    """

    cluster: str
    secret: str
    sync: Sync
    detail: str = ""
