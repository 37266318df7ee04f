"""What this process is doing, for people who wonder: pages below `/debug/pprof/` (B7).

Differs from Istio: the pages are text, since nothing of Go's runtime is here. Stacks are in the
form that flame graph tools read ("collapsed").
"""

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import CodeType, FrameType

SAMPLING = timedelta(milliseconds=10)
LONGEST = timedelta(minutes=2)
DEFAULT = timedelta(seconds=30)
_MOST_TYPES = 50


async def profile(length: timedelta) -> str:
    """Stacks of all threads, sampled a hundred times a second: ``frame;frame;frame COUNT``.

    A thread of its own looks, so that the event loop is seen while it is busy.
    """
    return await asyncio.to_thread(_sampled, min(length, LONGEST).total_seconds())


def _sampled(seconds: float) -> str:
    me, end = threading.get_ident(), time.monotonic() + seconds
    found: Counter[str] = Counter()
    while time.monotonic() < end:
        for thread, frame in sys._current_frames().items():  # noqa: SLF001 - there is no other way
            if thread != me:
                found[";".join(_stack(frame))] += 1
        time.sleep(SAMPLING.total_seconds())
    return "".join(f"{stack} {count}\n" for stack, count in sorted(found.items()))


def _stack(frame: FrameType) -> list[str]:
    """The functions that are under way, the outermost first."""
    codes: list[CodeType] = []
    inner: FrameType | None = frame
    while inner is not None:
        codes.append(inner.f_code)
        inner = inner.f_back
    return [f"{Path(code.co_filename).stem}:{code.co_qualname}" for code in reversed(codes)]


def activities() -> str:
    """Every thread and every task with its stack: what Go calls goroutines."""
    return "\n".join([*_threads(), *_tasks(), ""])


def _threads() -> Iterator[str]:
    names = {each.ident: each.name for each in threading.enumerate()}
    for thread, frame in sys._current_frames().items():  # noqa: SLF001 - there is no other way
        yield f"thread {names.get(thread, thread)}"
        yield "".join(traceback.format_stack(frame))


def _tasks() -> Iterator[str]:
    for task in sorted(asyncio.all_tasks(), key=lambda each: each.get_name()):
        yield f"task {task.get_name()}"
        frames = task.get_stack()
        summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
        yield "".join(summary.format())


async def objects() -> str:
    """How many objects of which type there are, the most first, after a collection."""
    return await asyncio.to_thread(_counted)


def _counted() -> str:
    gc.collect()
    found = Counter(
        f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects()
    )
    return "".join(f"{count} {name}\n" for name, count in found.most_common(_MOST_TYPES))


def command_line() -> str:
    """The arguments of this process, each ended by a zero byte."""
    return "".join(f"{each}\0" for each in sys.orig_argv)


INDEX = """profile?seconds=N  stacks of N seconds (default 30, at most 120), collapsed
goroutine          threads and tasks with their stacks
heap               live objects by type
cmdline            command line
"""
