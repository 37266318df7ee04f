"""Manifests with their proxies, as files: tests/golden/galley/injection.

`CASE.in.yaml` is what a user wrote, `CASE.settings.yaml` the arguments of `settings`, where they
are not the defaults; `CASE.injected.yaml` is the result. UPDATE_GOLDEN=1 rewrites it; review the
difference. Every result is valid for Kubernetes, and injecting it again changes nothing.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mast.cli.offline.manifests import with_sidecars
from mast.galley.core.injection.settings import Settings, settings
from tests.support.pods import not_restricted, pods

GOLDEN = Path("tests/golden/galley/injection")
CASES = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml"))
KUBERNETES = "1.33"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"


@cache
def of(case: str) -> Settings:
    path = GOLDEN / f"{case}.settings.yaml"
    given: dict[str, Any] = yaml.safe_load(path.read_text()) if path.exists() else {}
    return settings(**given)


@cache
def injected(case: str) -> str:
    made = with_sidecars((GOLDEN / f"{case}.in.yaml").read_text(), of(case), "default")
    assert not made.problems
    assert not [each for each in made.found if each.outcome.problems]
    return made.text


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    path = GOLDEN / f"{case}.injected.yaml"
    if UPDATE:
        path.write_text(injected(case))
    assert injected(case) == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_it(case: str) -> None:
    for item in yaml.safe_load_all(injected(case)):
        for each in item["items"] if item["kind"] == "List" else [item]:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_twice_is_once(case: str) -> None:
    again = with_sidecars(injected(case), of(case), "default")
    assert again.text == injected(case)
    assert again.found


def test_every_file_belongs_to_a_case() -> None:
    wanted = {f"{case}.{part}.yaml" for case in CASES for part in ("in", "settings", "injected")}
    assert {path.name for path in GOLDEN.iterdir()} <= wanted


def test_with_cni_a_restricted_pod_stays_restricted() -> None:
    (pod,) = pods(injected("cni"))
    assert not_restricted(pod) == []


def test_without_cni_it_does_not() -> None:
    (pod,) = pods(injected("plain"))
    assert any(each.startswith("istio-init: ") for each in not_restricted(pod))
