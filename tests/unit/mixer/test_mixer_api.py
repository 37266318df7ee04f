"""The face istio.mixer.v1.Mixer: requests to attributes, verdicts to responses (A1, A11, B)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from grpc import StatusCode

from istio.mixer.v1 import mixer_pb2
from mast.mixer.api.mixer import Admission, MixerServicer, check_response
from mast.mixer.core.engine import (
    CheckFailed,
    CheckVerdict,
    Condition,
    HeaderOperation,
    Operation,
    QuotaAsk,
    QuotaGrant,
    Reads,
    Reference,
    RouteDirective,
    Status,
)
from mast.mixer.core.shedding import LatencyLimiter, Mode, RateLimiter, Shedder
from mast.mixer.core.values import Attributes
from mast.mixer.core.wire import Numbering, encode, encode_shared

VERDICT = CheckVerdict(Status(7, "no"), timedelta(seconds=5), 3, ())


class Aborted(Exception):
    """What the context raises in place of gRPC."""

    def __init__(self, code: StatusCode, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


class Context:
    async def abort(self, code: StatusCode, details: str) -> None:
        raise Aborted(code, details)


@dataclass
class FakeEngine:
    """Remembers what it was asked and answers what it was told to."""

    verdict: CheckVerdict = VERDICT
    failure: str = ""
    errors: Sequence[str] = ()
    asked: list[tuple[Attributes, Mapping[str, QuotaAsk], str]] = field(default_factory=list)
    reported: list[Attributes] = field(default_factory=list)
    check_reads: Reads = field(default_factory=Reads)
    report_reads: Reads = field(default_factory=lambda: Reads(frozenset({"a"})))

    async def check(
        self,
        attributes: Attributes,
        quotas: Mapping[str, QuotaAsk] | None = None,
        *,
        deduplication_id: str = "",
    ) -> CheckVerdict:
        self.asked.append((attributes, quotas or {}, deduplication_id))
        if self.failure:
            raise CheckFailed(self.failure)
        return self.verdict

    async def report(self, records: Sequence[Attributes]) -> Sequence[str]:
        self.reported += records
        return self.errors


NO_LIMIT = Shedder(Mode.DISABLED, RateLimiter(0, 0), LatencyLimiter(0, 1, 0))


def servicer(engine: FakeEngine, shedder: Shedder = NO_LIMIT) -> MixerServicer:
    return MixerServicer(engine, Admission(shedder, lambda: 0.0, lambda _: None))


async def check(engine: FakeEngine, request: mixer_pb2.CheckRequest) -> mixer_pb2.CheckResponse:
    context: Any = Context()
    return await servicer(engine).Check(request, context)


async def report(engine: FakeEngine, request: mixer_pb2.ReportRequest) -> None:
    context: Any = Context()
    await servicer(engine).Report(request, context)


async def test_a_check_is_translated() -> None:
    """A1: attributes, quotas and the id reach the engine."""
    engine = FakeEngine()
    response = await check(
        engine,
        mixer_pb2.CheckRequest(
            attributes=encode({"a": "x", "m": {"k": "v"}}),
            deduplication_id="id",
            quotas={"q": mixer_pb2.CheckRequest.QuotaParams(amount=5, best_effort=True)},
        ),
    )
    assert engine.asked == [({"a": "x", "m": {"k": "v"}}, {"q": QuotaAsk(5, True)}, "id")]
    assert response.precondition.status.message == "no"


async def test_a_failed_check_is_internal() -> None:
    """A14, A23: INTERNAL and the text."""
    with pytest.raises(Aborted) as aborted:
        await check(FakeEngine(failure="performing check operation failed: x"),
                    mixer_pb2.CheckRequest())  # fmt: skip
    assert aborted.value.code is StatusCode.INTERNAL
    assert aborted.value.details == "performing check operation failed: x"


async def test_nothing_is_asked_for_a_caller_that_knows_more_words() -> None:
    """A1, A2: the dictionary comes before the rules."""
    engine = FakeEngine()
    with pytest.raises(Aborted):
        await check(engine, mixer_pb2.CheckRequest(global_word_count=223))
    assert engine.asked == []


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        (Mode.ENFORCE, StatusCode.UNAVAILABLE),
        (Mode.LOGONLY, StatusCode.INTERNAL),
        (Mode.DISABLED, StatusCode.INTERNAL),
    ],
)
@pytest.mark.parametrize("call", ["Check", "Report"])
async def test_load_is_shed_before_anything_is_looked_at(
    call: str, mode: Mode, code: StatusCode
) -> None:
    """A1, I1, L46: then comes the dictionary, whose mismatch shows here what was looked at."""
    request = {"Check": mixer_pb2.CheckRequest, "Report": mixer_pb2.ReportRequest}[call]
    context: Any = Context()
    full = servicer(FakeEngine(), Shedder(mode, RateLimiter(0.5, 0.5), LatencyLimiter(0, 1, 0)))
    asked = request(global_word_count=223)
    if call == "Report":
        asked.attributes.add()
    with pytest.raises(Aborted) as aborted:
        await getattr(full, call)(asked, context)
    assert aborted.value.code is code
    if mode is Mode.ENFORCE:
        assert aborted.value.details == ("Server is currently overloaded. Please try again.")


async def test_a_report_costs_as_much_as_it_has_records() -> None:
    """A1: a check costs one."""
    limited = servicer(
        FakeEngine(), Shedder(Mode.ENFORCE, RateLimiter(10, 10), LatencyLimiter(0, 1, 0))
    )
    context: Any = Context()
    records = [encode({})] * 7
    await limited.Report(mixer_pb2.ReportRequest(attributes=records), context)
    await limited.Check(mixer_pb2.CheckRequest(), context)
    with pytest.raises(Aborted):
        await limited.Report(mixer_pb2.ReportRequest(attributes=records[:3]), context)
    await limited.Report(mixer_pb2.ReportRequest(attributes=records[:2]), context)
    with pytest.raises(Aborted):
        await limited.Check(mixer_pb2.CheckRequest(), context)


@pytest.mark.parametrize("failure", ["", "an adapter did not answer in time"])
async def test_the_latency_of_every_check_counts(failure: str) -> None:
    """I1: of those that fail as well, they may take longest."""
    limiter = LatencyLimiter(threshold=1, halflife=1, enforcement=0)
    times = iter([0.0, 5.0])
    admission = Admission(
        Shedder(Mode.ENFORCE, RateLimiter(0, 0), limiter), lambda: next(times), lambda _: None
    )
    context: Any = Context()
    call = MixerServicer(FakeEngine(failure=failure), admission).Check
    with suppress(Aborted):
        await call(mixer_pb2.CheckRequest(), context)
    assert limiter.mean == 5.0


async def test_default_words_are_used_only_for_records_without_words() -> None:
    """B1, L5."""
    engine = FakeEngine()
    numbering = Numbering()
    shared = encode_shared({"a": "default"}, numbering)
    await report(
        engine,
        mixer_pb2.ReportRequest(
            attributes=[shared, encode({"a": "own"}), encode({"not": "read"})],
            default_words=numbering.own,
            repeated_attributes_semantics=mixer_pb2.ReportRequest.INDEPENDENT_ENCODING,
        ),
    )
    assert engine.reported == [{"a": "default"}, {"a": "own"}, {}]


async def test_deltas_accumulate_and_bad_ones_are_left_out() -> None:
    """B2, B4, L4: the state is as before the bad one."""
    engine = FakeEngine()
    bad = mixer_pb2.ReportRequest().attributes.add(strings={-1: 0})
    with pytest.raises(Aborted) as aborted:
        await report(
            engine,
            mixer_pb2.ReportRequest(
                attributes=[encode({"a": "1", "b": "2"}), bad, encode({"a": "3"})]
            ),
        )
    assert engine.reported == [{"a": "1", "b": "2"}, {"a": "3", "b": "2"}]
    assert aborted.value.code is StatusCode.UNKNOWN
    assert aborted.value.details == "index -1 is not defined in the available dictionaries"


async def test_all_errors_of_a_report_are_told_as_far_as_there_is_room() -> None:
    """B4."""
    with pytest.raises(Aborted) as aborted:
        await report(FakeEngine(errors=["one", "two"]), mixer_pb2.ReportRequest())
    assert (aborted.value.code, aborted.value.details) == (StatusCode.UNKNOWN, "one, two")
    with pytest.raises(Aborted) as aborted:
        await report(FakeEngine(errors=["x" * 10_000]), mixer_pb2.ReportRequest())
    assert len(aborted.value.details) == 4096


def test_a_verdict_is_translated() -> None:
    """A11, A12, A27, A29: the whole of an answer."""
    referenced = (
        Reference("source.uid", None, Condition.EXACT),
        Reference("request.headers", "my-header", Condition.ABSENCE),
    )
    directive = RouteDirective(
        (HeaderOperation("a", "1", Operation.APPEND), HeaderOperation("b", "", Operation.REMOVE)),
        (HeaderOperation("c", "2"),),
        302,
        "body",
    )
    grant = QuotaGrant(4, timedelta(milliseconds=1500), referenced[:1], Status(8, "little"))
    verdict = CheckVerdict(
        Status(16, "who"), timedelta(seconds=5), 7, referenced, directive, {"q": grant}
    )
    response = check_response(verdict, 222)
    precondition = response.precondition
    assert (precondition.status.code, precondition.status.message) == (16, "who")
    assert precondition.valid_duration.ToTimedelta() == timedelta(seconds=5)
    assert precondition.valid_use_count == 7
    assert [(m.name, m.map_key, m.condition) for m in (
        precondition.referenced_attributes.attribute_matches
    )] == [(3, 0, 2), (15, -1, 1)]  # fmt: skip
    assert list(precondition.referenced_attributes.words) == ["my-header"]
    sent = precondition.route_directive
    request = [(each.name, each.value, each.operation) for each in sent.request_header_operations]
    assert request == [("a", "1", 2), ("b", "", 1)]
    assert sent.response_header_operations[0].operation == mixer_pb2.HeaderOperation.REPLACE
    assert (sent.direct_response_code, sent.direct_response_body) == (302, "body")
    quota = response.quotas["q"]
    assert (quota.granted_amount, quota.valid_duration.nanos) == (4, 500_000_000)
    assert (quota.status.code, quota.status.message) == (8, "little")
    assert quota.referenced_attributes.attribute_matches[0].name == 3


def test_without_directive_there_is_none() -> None:
    """A27: clients look whether there is one."""
    assert not check_response(VERDICT, 222).precondition.HasField("route_directive")
