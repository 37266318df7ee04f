"""Who of several Galleys does a job: the names of leases (galley-and-kubernetes.md A7)."""

from __future__ import annotations

import pytest

from mast.galley.kubernetes.leading import ANALYSIS, lease_of


@pytest.mark.parametrize(
    ("cluster", "lease"),
    [
        pytest.param("Kubernetes", "istio-analyze-leader", id="istios-name"),
        pytest.param("east", "istio-analyze-leader-east", id="of-another-cluster"),
    ],
)
def test_every_cluster_has_leaders_of_its_own(cluster: str, lease: str) -> None:
    assert lease_of(ANALYSIS, cluster) == lease
