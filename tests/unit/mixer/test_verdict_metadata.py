"""Verdicts as Envoy and its check cache take them (mixer_proxy.md A36, A37, K1, K4, K5)."""

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from mast.mixer.core.engine import (
    CheckVerdict,
    Condition,
    HeaderOperation,
    Operation,
    QuotaGrant,
    Reference,
    RouteDirective,
    Status,
)
from mast.mixer.core.verdict_metadata import (
    Charge,
    Charges,
    Responses,
    check_response,
    error_response,
    shape,
)
from tests.support.messages import plain

A, E = Condition.ABSENCE, Condition.EXACT
PATH = Reference("request.path", None, E)
UNREADABLE = Reference("request.time", None, E)


def verdict(code: int = 0, message: str = "", **changes: Any) -> CheckVerdict:
    fields: dict[str, Any] = {
        "valid_duration": timedelta(seconds=60),
        "valid_use_count": 10000,
        "referenced": (PATH,),
        **changes,
    }
    return CheckVerdict(Status(code, message), **fields)


def answered(
    given: CheckVerdict, charges: Charges | None = None, headers: tuple[str, ...] = ()
) -> dict[str, Any]:
    found: dict[str, Any] = plain(check_response(given, charges or Charges(), "inbound", headers))
    found["dynamic_metadata"] = found.get("dynamic_metadata", {})
    return found


# Shapes


@pytest.mark.parametrize(
    ("reference", "inbound", "outbound"),
    [
        pytest.param(PATH, [("E", "request.path")], [("E", "request.path")], id="readable"),
        pytest.param(
            Reference("request.referer", None, A), [("A", "request.referer")],
            [("A", "request.referer")], id="absent",
        ),
        pytest.param(
            Reference("request.headers", "x", E), [("E", "request.headers", "x")],
            [("E", "request.headers", "x")], id="key",
        ),
        pytest.param(
            Reference("request.headers", "x", A), [("A", "request.headers", "x")],
            [("A", "request.headers", "x")], id="absent-key",
        ),
        pytest.param(
            Reference("request.query_params", None, A), [("A", "request.query_params")],
            [("A", "request.query_params")], id="absent-map",
        ),
        pytest.param(Reference("destination.uid", None, E), [], None, id="own-uid-inbound"),
        pytest.param(Reference("destination.uid", None, A), [], [], id="no-uid"),
        pytest.param(
            Reference("source.uid", None, E), [("E", "source")], [], id="own-uid-outbound"
        ),
        pytest.param(
            Reference("source.uid", None, A), [("E", "source")], [], id="unknown-caller"
        ),
        pytest.param(
            Reference("source.ip", None, E), [("E", "source")], None, id="address-of-caller"
        ),
        pytest.param(
            Reference("source.namespace", None, E), [("E", "source")], [], id="source-namespace"
        ),
        pytest.param(
            Reference("destination.port", None, E), [("E", "destination.port")], [], id="port"
        ),
        pytest.param(Reference("context.reporter.kind", None, E), [], [], id="of-the-listener"),
        pytest.param(Reference("source.labels", None, A), [], [], id="never-there"),
        pytest.param(Reference("source.labels", None, E), None, None, id="not-readable"),
        pytest.param(Reference("request.time", None, E), None, None, id="time"),
        pytest.param(
            Reference("request.auth.principal", None, A), [("A", "request.auth.principal")],
            [("A", "request.auth.principal")], id="no-token",
        ),
        pytest.param(
            Reference("request.auth.claims", "a", E), [("E", "request.auth.claims", "a")],
            [("E", "request.auth.claims", "a")], id="claim",
        ),
        pytest.param(
            Reference("request.auth.raw_claims", None, A), None, None, id="text-of-the-token"
        ),
        pytest.param(
            Reference("request.path", None, Condition.REGEX), None, None, id="regular-expression"
        ),
    ],
)  # fmt: skip
def test_shape_of_one_reference(reference, inbound, outbound) -> None:
    for kind, expected in (("inbound", inbound), ("outbound", outbound)):
        found = shape([reference], kind)
        assert (None if found is None else list(found)) == expected


def test_a_shape_is_sorted_and_has_everything_once() -> None:
    references = [
        PATH,
        Reference("source.uid", None, E),
        Reference("request.headers", "b", E),
        Reference("request.headers", "a", A),
        Reference("source.ip", None, A),
    ]
    expected = (
        ("A", "request.headers", "a"),
        ("E", "request.headers", "b"),
        ("E", "request.path"),
        ("E", "source"),
    )
    assert shape(references, "inbound") == expected
    assert shape(reversed(references), "inbound") == expected


def test_one_unreadable_reference_spoils_a_shape() -> None:
    assert shape([PATH, UNREADABLE], "inbound") is None


# Answers


def test_success() -> None:
    assert answered(verdict()) == {
        "ok_response": {},
        "dynamic_metadata": {
            "check": {"shape": [["E", "request.path"]], "uses": 10000, "valid_ms": 5000}
        },
    }


@pytest.mark.parametrize(
    ("code", "message", "status", "body"),
    [
        (1, "m", "499", "CANCELLED:m"),
        (2, "m", "InternalServerError", "UNKNOWN:m"),
        (3, "m", "BadRequest", "INVALID_ARGUMENT:m"),
        (4, "m", "GatewayTimeout", "DEADLINE_EXCEEDED:m"),
        (5, "m", "NotFound", "NOT_FOUND:m"),
        (6, "m", "Conflict", "ALREADY_EXISTS:m"),
        (7, "h.n:no, i.n:never", "Forbidden", "PERMISSION_DENIED:h.n:no, i.n:never"),
        (8, "m", "TooManyRequests", "RESOURCE_EXHAUSTED:m"),
        (9, "m", "BadRequest", "FAILED_PRECONDITION:m"),
        (10, "m", "Conflict", "ABORTED:m"),
        (11, "m", "BadRequest", "OUT_OF_RANGE:m"),
        (12, "m", "NotImplemented", "UNIMPLEMENTED:m"),
        (13, "m", "InternalServerError", "INTERNAL:m"),
        (14, "m", "ServiceUnavailable", "UNAVAILABLE:m"),
        (15, "m", "InternalServerError", "DATA_LOSS:m"),
        (16, "", "Unauthorized", "UNAUTHENTICATED"),
        (99, "m", "InternalServerError", "Code(99):m"),
    ],
)
def test_a_denial(code, message, status, body) -> None:
    found = answered(verdict(code, message))
    assert found["status"]["code"] == code
    assert str(found["denied_response"]["status"]["code"]) == status
    assert found["denied_response"]["body"] == body
    metadata = found["dynamic_metadata"]
    assert (metadata["error_code"], metadata["error_message"]) == (code, message)


def test_a_cached_denial_is_like_the_denial() -> None:
    check = answered(verdict(7, "no"))["dynamic_metadata"]["check"]
    assert check["denial"] == {
        "http": 403,
        "code": 7,
        "message": "no",
        "body": "PERMISSION_DENIED:no",
        "headers": [],
    }


DIRECT = RouteDirective(
    response_operations=(
        HeaderOperation("Location", "/login"),
        HeaderOperation("set-cookie", "a", Operation.APPEND),
        HeaderOperation("set-cookie", "b", Operation.APPEND),
        HeaderOperation("server", "", Operation.REMOVE),
    ),
    direct_response_code=302,
    direct_response_body="go",
)


@pytest.mark.parametrize("code", [0, 16])
def test_a_direct_response(code) -> None:
    found = answered(verdict(code, "m", directive=DIRECT))
    denied = found["denied_response"]
    assert (denied["status"]["code"], denied["body"]) == ("Found", "go")
    assert [
        (each["header"]["key"], each["header"]["value"], each.get("append_action"))
        for each in denied["headers"]
    ] == [
        ("location", "/login", "OVERWRITE_IF_EXISTS_OR_ADD"),
        ("set-cookie", "a", None),
        ("set-cookie", "b", None),
    ]
    # Envoy denies by any status that is not OK, a direct response of success too.
    assert found["status"]["code"] == (code or 2)
    metadata = found["dynamic_metadata"]
    assert ("error_code" in metadata) is bool(code)
    assert metadata["check"]["denial"] == {
        "http": 302,
        "code": code,
        "message": "m",
        "body": "go",
        "headers": [["location", "/login"], ["set-cookie", "a"], ["set-cookie", "b"]],
    }


def test_a_denial_without_a_direct_response_ignores_header_operations() -> None:
    directive = RouteDirective(request_operations=(HeaderOperation("x", "1"),))
    found = answered(verdict(7, "no", directive=directive))
    assert "headers" not in found["denied_response"]


OPERATIONS = RouteDirective(
    request_operations=(
        HeaderOperation("X-Set", "1"),
        HeaderOperation("x-there", "2", Operation.APPEND),
        HeaderOperation("x-new", "3", Operation.APPEND),
        HeaderOperation("x-gone", "", Operation.REMOVE),
    ),
    response_operations=(
        HeaderOperation("x-answer", "4"),
        HeaderOperation("x-list", "5", Operation.APPEND),
        HeaderOperation("server", "", Operation.REMOVE),
    ),
)


def test_header_operations() -> None:
    found = answered(verdict(directive=OPERATIONS), headers=("x-there",))
    allowed = found["ok_response"]
    assert [
        (each["header"]["key"], each["header"]["value"], each.get("append", False))
        for each in allowed["headers"]
    ] == [("x-set", "1", False), ("x-there", "2", True), ("x-new", "3", False)]
    assert allowed["headers_to_remove"] == ["x-gone"]
    assert [
        (each["header"]["key"], each["header"]["value"], each.get("append_action"))
        for each in allowed["response_headers_to_add"]
    ] == [("x-answer", "4", "OVERWRITE_IF_EXISTS_OR_ADD"), ("x-list", "5", None)]
    metadata = found["dynamic_metadata"]
    assert metadata["response_remove"] == ["server"]
    assert metadata["check"]["request_operations"] == {
        "set": [["x-set", "1"]],
        "append": [["x-there", "2"], ["x-new", "3"]],
        "remove": ["x-gone"],
    }
    assert metadata["check"]["response_operations"] == {
        "set": [["x-answer", "4"]],
        "append": [["x-list", "5"]],
        "remove": ["server"],
    }


# What is kept


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(verdict(valid_use_count=0), id="no-uses"),
        pytest.param(verdict(valid_duration=timedelta()), id="no-time"),
        pytest.param(verdict(14, "later"), id="unavailable"),
        pytest.param(verdict(referenced=(UNREADABLE,)), id="unreadable"),
    ],
)
def test_verdicts_that_are_not_kept(given) -> None:
    assert "check" not in answered(given)["dynamic_metadata"]


def test_removals_from_the_response_are_told_even_if_nothing_is_kept() -> None:
    found = answered(verdict(directive=OPERATIONS, valid_use_count=0))
    assert found["dynamic_metadata"] == {"response_remove": ["server"]}


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(0.25, 250), (5, 5000), (6, 5000), (1e9, 5000)]
)
def test_a_verdict_is_kept_for_five_seconds_at_most(seconds, milliseconds) -> None:
    given = verdict(valid_duration=timedelta(seconds=seconds))
    assert answered(given)["dynamic_metadata"]["check"]["valid_ms"] == milliseconds
    longer = Responses(lifetime=timedelta(seconds=70)).of(given, Charges(), "inbound")
    kept = longer.dynamic_metadata["check"]["valid_ms"]
    assert kept == min(seconds * 1000, 70_000)


# Quotas

RATE = Charge("rate", 2, 3)


def grant(amount: int, seconds: float = 10, **changes: Any) -> QuotaGrant:
    return QuotaGrant(amount, timedelta(seconds=seconds), **changes)


def test_a_granted_quota() -> None:
    references = (Reference("request.method", None, E),)
    charges = Charges([RATE], references)
    found = answered(verdict(quotas={"rate": grant(5, referenced=(PATH,))}), charges)
    assert found["ok_response"] == {}
    metadata = found["dynamic_metadata"]
    assert metadata["check"]["shape"] == [["E", "request.method"], ["E", "request.path"]]
    quota = {"name": "rate", "charge": 2, "shape": [["E", "request.path"]]}
    assert metadata["check"]["quotas"] == [quota]
    assert metadata["grants"] == [{**quota, "asked": 2, "granted": 5, "valid_ms": 10000}]


def test_less_stock_than_wanted_does_not_close_a_quota() -> None:
    found = answered(verdict(quotas={"rate": grant(2)}), Charges([RATE]))
    told = found["dynamic_metadata"]["grants"][0]
    assert (told["asked"], told["granted"]) == (2, 2)


def test_tokens_without_validity_hold_a_minute() -> None:
    found = answered(verdict(quotas={"rate": grant(5, 0)}), Charges([RATE]))
    assert found["dynamic_metadata"]["grants"][0]["valid_ms"] == 60000


@pytest.mark.parametrize(
    ("amounts", "names"),
    [({"rate": 1, "b": 1}, "rate"), ({"rate": 0, "b": 0}, "rate,b"), ({"rate": 2, "b": 0}, "b")],
)
def test_an_exhausted_quota(amounts, names) -> None:
    quotas = {name: grant(amount) for name, amount in amounts.items()}
    found = answered(verdict(quotas=quotas), Charges([RATE, Charge("b", 1)]))
    message = f"Quota is exhausted for: {names}"
    assert found["denied_response"]["status"] == {"code": "TooManyRequests"}
    assert found["denied_response"]["body"] == f"RESOURCE_EXHAUSTED:{message}"
    metadata = found["dynamic_metadata"]
    assert (metadata["error_code"], metadata["error_message"]) == (8, message)
    # The check itself was passed: that is what is kept, with what was granted.
    assert "denial" not in metadata["check"]
    assert [each["granted"] for each in metadata["grants"]] == list(amounts.values())


def test_an_unavailable_quota_lets_requests_pass() -> None:
    quotas = {"rate": grant(0, status=Status(14, "gone"))}
    found = answered(verdict(quotas=quotas), Charges([RATE]))
    assert "denied_response" not in found
    assert found["dynamic_metadata"]["grants"] == []


def test_nothing_is_kept_when_the_quota_depends_on_the_unreadable() -> None:
    quotas = {"rate": grant(5, referenced=(UNREADABLE,))}
    found = answered(verdict(quotas=quotas), Charges([RATE]))
    assert found["dynamic_metadata"] == {}


def test_equal_verdicts_get_one_response() -> None:
    responses = Responses(limit=2)
    first = responses.of(verdict(7, "no"), Charges(), "inbound")
    assert responses.of(verdict(7, "no"), Charges(), "inbound") is first
    others = [
        responses.of(verdict(7, "no"), Charges(), "outbound"),
        responses.of(verdict(7, "never"), Charges(), "inbound"),
        responses.of(verdict(7, "no", referenced=()), Charges(), "inbound"),
        responses.of(verdict(7, "no", valid_use_count=1), Charges(), "inbound"),
        responses.of(verdict(7, "no", valid_duration=timedelta(1)), Charges(), "inbound"),
    ]
    assert all(each is not first for each in others)
    again = responses.of(verdict(7, "no"), Charges(), "inbound")
    assert again is not first, "the oldest were forgotten"
    assert again == first


@pytest.mark.parametrize(
    ("given", "charges"),
    [
        (verdict(directive=OPERATIONS), Charges()),
        (verdict(), Charges([RATE])),
        (verdict(), Charges((), (PATH,))),
    ],
)
def test_what_depends_on_more_than_the_verdict_is_made_anew(given, charges) -> None:
    responses = Responses()
    first = responses.of(given, charges, "inbound", ("x-there",))
    assert responses.of(given, charges, "inbound", ("x-there",)) is not first


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(verdict(), id="kept"),
        pytest.param(verdict(7, "no"), id="denial"),
        pytest.param(verdict(referenced=(UNREADABLE,)), id="not-kept"),
        pytest.param(verdict(directive=OPERATIONS), id="with-operations"),
    ],
)
def test_every_verdict_says_of_which_configuration_it_is(given) -> None:
    found = Responses(configuration="c1").of(given, Charges(), "inbound")
    assert found.dynamic_metadata["configuration"] == "c1"
    nameless = Responses().of(given, Charges(), "inbound")
    assert "configuration" not in nameless.dynamic_metadata
    assert error_response(13, "broke", "c1").dynamic_metadata["configuration"] == "c1"


def test_an_error_is_left_to_the_fail_policy() -> None:
    found = error_response(13, "broke")
    assert not found.HasField("ok_response")
    assert not found.HasField("denied_response")
    assert found.error_response.status.code == 500
    assert found.error_response.body == "INTERNAL:broke"
    assert MessageToDict(found.dynamic_metadata) == {"error_code": 13, "error_message": "broke"}
