"""Istio's public samples as users have them, of all versions, are valid.

The files say in own words what those samples say.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mast.galley.core.judge import judge
from mast.galley.core.objects import Compat, Defaults, read_text
from mast.galley.core.verdicts import verdicts

SAMPLES = Path(__file__).parents[2] / "data" / "public_samples"


@pytest.mark.parametrize(
    ("name", "judged", "skipped"),
    [
        pytest.param("bookinfo", 13, ["Deployment", "Service", "ServiceAccount"], id="bookinfo"),
        pytest.param("earlier", 6, ["Certificate", "Deployment", "Service"], id="earlier"),
        pytest.param("gateways", 16, [], id="gateways"),
        pytest.param("security", 17, [], id="security"),
        pytest.param("telemetry", 17, [], id="telemetry"),
        pytest.param("workloads", 8,
                     ["ConfigMap", "Deployment", "Secret", "Service", "Service", "Service",
                      "ServiceAccount", "ServiceAccount"], id="workloads"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("compat", Compat)
def test_sample(name: str, judged: int, skipped: list[str], compat: Compat) -> None:
    text = (SAMPLES / f"{name}.yaml").read_text()
    found = verdicts(judge(read_text(text, name, Defaults(skip_foreign=True)), compat))
    assert [str(problem) for each in found for problem in each.errors] == []
    kinds = Counter(each.kind for each in found if each.notes)
    assert sorted(kinds.elements()) == skipped
    assert len(found) - kinds.total() == judged


def test_every_sample_is_judged() -> None:
    (mark,) = [each for each in test_sample.pytestmark if "name" in each.args[0]]
    assert {case.values[0] for case in mark.args[1]} == {p.stem for p in SAMPLES.glob("*.yaml")}
