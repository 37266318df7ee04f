"""Patches applied to one object, so that it stays what Envoy takes (pilot.md K1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from mast.pilot.core.patches.patch import Patch, PatchSet, Skipped, copied
from mast.pilot.core.patches.record import Record
from mast.pilot.core.patches.soundness import faults

M = TypeVar("M", bound=Message)

Apply = Callable[[M, PatchSet, Record], M | None]
"""Changes a message in place and returns it, None if it is to be removed."""


@dataclass(frozen=True, eq=False)
class Applied(Generic[M]):
    """What patches made of an object: None if they removed it, `original` itself if none fits."""

    message: M | None
    applied: tuple[Patch, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def applied(original: M, patches: PatchSet, apply: Apply[M]) -> Applied[M]:
    """Apply all patches that leave the object sound.

    One that does not fit, or after which Envoy would refuse the object, is skipped; the others are
    applied as if it did not exist.
    """
    result, record = _attempt(original, patches, apply)
    if not record.applied:
        return Applied(original, (), tuple(record.skipped.values()))
    if result is None or not (wrong := faults(result)) or len(wrong) <= len(faults(original)):
        return _done(result, record)
    return _without_offenders(original, patches, apply)


def _without_offenders(original: M, patches: PatchSet, apply: Apply[M]) -> Applied[M]:
    """Try the patches one after the other, and leave out those that break the object."""
    allowed = len(faults(original))
    guilty: dict[Patch, str] = {}
    kept: list[Patch] = []
    for patch in patches.patches:
        result, _ = _attempt(original, patches.only([*kept, patch]), apply)
        wrong = [] if result is None else faults(result)
        if len(wrong) > allowed:
            guilty[patch] = "; ".join(wrong)
        else:
            kept.append(patch)
    result, record = _attempt(original, patches.only(kept), apply)
    for patch, reason in guilty.items():
        record.skip(patch, f"Envoy would refuse the result: {reason}")
    return _done(result, record)


def _attempt(original: M, patches: PatchSet, apply: Apply[M]) -> tuple[M | None, Record]:
    record = Record()
    return apply(copied(original), patches, record), record


def _done(result: M | None, record: Record) -> Applied[M]:
    return Applied(result, tuple(record.applied), tuple(record.skipped.values()))
