"""What the demonstration measures with: Prometheus samples and answers."""

from __future__ import annotations

import pytest

from mast.cli.demo.stage import Answer, statuses, sum_of

PAGE = """# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",destination_service="a",response_code="200"} 3
istio_requests_total{reporter="destination",destination_service="a",response_code="503"} 2
istio_requests_total{reporter="source",destination_service="a",response_code="200"} 7
istio_requests_total{reporter="destination",destination_service="b",note="x \\"y\\", z"} 1
other{destination_service="a"} 100
bare 4
"""


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"destination_service": "a", "reporter": "destination"}, 5),
        ({"destination_service": "b"}, 1),
        ({"destination_service": "c"}, 0),
        ({}, 13),
    ],
)
def test_sum_of_matching_samples(labels: dict[str, str], expected: float) -> None:
    assert sum_of(PAGE, "istio_requests_total", labels) == expected


def test_samples_without_labels_count_too() -> None:
    assert sum_of(PAGE, "bare", {}) == 4


def test_statuses_are_counted() -> None:
    answers = [Answer(200, 1, 0), Answer(503, 1, 0), Answer(200, 1, 0)]
    assert statuses(answers) == "200: 2, 503: 1"


@pytest.mark.parametrize(("body", "expected"), [('{"a": 1}', {"a": 1}), ("no", {}), ("[1]", {})])
def test_document(body: str, expected: dict[str, int]) -> None:
    assert Answer(200, 1, 0, body).document == expected
