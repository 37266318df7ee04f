"""What all tests share: how property tests look for examples, and how garbage is looked for."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, however slow the machine is at the moment; `tox -e fuzz` and
# `pytest --hypothesis-profile=default` look for others.
settings.register_profile(
    "mast",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("mast")

# Nobody here is vouched for by the machine's authorities, whose certificates every process that
# imports aiohttp would parse from one file; they remain known by the directory of the same.
os.environ.setdefault("SSL_CERT_FILE", os.devnull)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage among what tests make, not among modules and tests: those stay.

    Full collections, which took a seventh of the time of property tests, are rarer from then on.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(700, 10, 50)
        gc.enable()
