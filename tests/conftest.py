"""What all tests share: how property tests look for examples."""

from __future__ import annotations

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
