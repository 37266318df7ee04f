"""Problems on the wire: of very many the errors, as many as fit."""

from __future__ import annotations

from typing import Any

import pytest
from google.rpc import status_pb2
from grpc import StatusCode

from mast.galley.api.problems import REPORT_LIMIT, aborting, messages
from mast.galley.core.problem import InvalidConfig, Problem, Severity
from mastapi.galley.v1 import config_pb2

ERROR = Problem("host", "'a b' is no host", "spec.host")
WARNING = Problem("deprecated", "is deprecated", "spec.old", Severity.WARNING)


def test_few_keep_their_order() -> None:
    assert [each.rule for each in messages([WARNING, ERROR])] == ["deprecated", "host"]


@pytest.mark.parametrize(
    ("warnings", "errors", "rules", "severity"),
    [
        pytest.param(REPORT_LIMIT, 1, {"host": 1, "deprecated": REPORT_LIMIT - 1}, "WARNING",
                     id="warnings"),
        pytest.param(5, REPORT_LIMIT + 1, {"host": REPORT_LIMIT}, "ERROR", id="errors"),
    ],
)  # fmt: skip
def test_of_very_many_the_errors_are_told(
    warnings: int, errors: int, rules: dict[str, int], severity: str
) -> None:
    found = [each.rule for each in messages([WARNING] * warnings + [ERROR] * errors)]
    assert {rule: found.count(rule) for rule in set(found)} == {**rules, "too-many": 1}
    last = messages([WARNING] * warnings + [ERROR] * errors)[-1]
    assert config_pb2.Problem.Severity.Name(last.severity) == severity
    assert last.message == f"{warnings + errors - REPORT_LIMIT} more findings are not told"


class Aborted(Exception):
    """What a context raises."""


class FakeContext:
    """Takes what a call is ended with."""

    async def abort(self, code: StatusCode, message: str, metadata: Any) -> None:
        raise Aborted(code, message, metadata)


async def test_trailers_have_room_for_an_error() -> None:
    context: Any = FakeContext()
    with pytest.raises(Aborted) as ended:
        async with aborting(context):
            raise InvalidConfig([WARNING] * 500 + [ERROR])
    code, _, ((_, details),) = ended.value.args
    report = config_pb2.ValidationReport()
    status_pb2.Status.FromString(details).details[0].Unpack(report)
    assert code is StatusCode.INVALID_ARGUMENT
    assert report.problems[0].rule == "host"
    assert len(details) <= 7000
