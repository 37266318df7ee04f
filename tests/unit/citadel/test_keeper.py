"""The wiring of the CA: which keys are kept where, and when a replica may sign (A8.5, A12)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mast.citadel.config import Config
from mast.citadel.keeper import Keeper, keys, policy
from mast.common.etcd import Health
from tests.unit.citadel.examples import DAY, DOMAIN, HOUR, NOW

KEPT: Any = object()


@pytest.mark.parametrize(
    ("rotation", "health", "may"),
    [
        pytest.param(KEPT, Health(True, NOW - 9 * DAY, ""), True, id="connected"),
        pytest.param(KEPT, Health(False, NOW - 23 * HOUR, ""), True, id="cut-off-for-a-while"),
        pytest.param(KEPT, Health(False, NOW - 24 * HOUR, ""), False, id="cut-off-for-too-long"),
        pytest.param(KEPT, Health(False, None, ""), True, id="never-connected"),
        pytest.param(None, Health(False, NOW - 9 * DAY, ""), True, id="plugged-in"),
    ],
)
def test_who_does_not_know_what_became_of_the_ca_stops_signing(
    rotation: Any, health: Health, may: bool
) -> None:
    """An old CA is trusted that much longer than its last leaf: nothing outlives its root."""
    kept = Keeper(KEPT, rotation, 24 * HOUR, KEPT)
    assert kept.may_sign(health, NOW) is may


@pytest.mark.parametrize(
    ("config", "managers", "current"),
    [
        pytest.param(Config(), {"etcd", "memory"}, "etcd", id="default"),
        pytest.param(
            Config(key_manager="file", key_directory=Path("keys")),
            {"etcd", "memory", "file"},
            "file",
            id="file",
        ),
        pytest.param(
            Config(key_manager="etcd", kms_socket=Path("s"), key_directory=Path("keys")),
            {"etcd", "memory", "file", "kms"},
            "etcd",
            id="on-the-way-from-one-to-another",
        ),
    ],
)
def test_key_managers(config: Config, managers: set[str], current: str) -> None:
    found = keys(config, DOMAIN)
    assert (set(found.managers), found.current) == (managers, current)


@pytest.mark.parametrize("wanted", ["file", "kms", "pkcs11", "vault"])
def test_a_key_manager_needs_its_settings(wanted: str) -> None:
    with pytest.raises(ValueError, match=f"key_manager '{wanted}': configured are etcd, memory"):
        keys(Config(key_manager=wanted), DOMAIN)


def test_meshes_that_poll_are_given_time() -> None:
    assert policy(Config()).publication == timedelta()
    served = Config(spiffe_bundle_listen="127.0.0.1:8443", spiffe_refresh_hint=HOUR)
    assert policy(served).publication == HOUR
