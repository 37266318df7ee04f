"""Mixers for checks and for reports apart (mixer.md I, services)."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct
from grpc import StatusCode

from istio.mixer.v1 import mixer_pb2
from mast.mixer.api.mixer import Admission, MixerServicer
from mast.mixer.core.adapter import Adapter
from mast.mixer.core.config.snapshot import compile_snapshot
from mast.mixer.core.mixer_role import MixerRole
from mast.mixer.core.shedding import LatencyLimiter, Mode, RateLimiter, Shedder
from mast.mixer.core.templates import TEMPLATES
from tests.support.mixer_config import entries
from tests.unit.mixer.test_mixer_api import Aborted, Context, FakeEngine

OBJECTS = """
{kind: handler, metadata: {name: NAME}, spec: {compiledAdapter: any}}
---
{kind: instance, metadata: {name: NAME}, spec: {compiledTemplate: TEMPLATE}}
---
{kind: rule, metadata: {name: NAME}, spec: {actions: [{handler: NAME, instances: [NAME]}]}}
---
"""
PURPOSES = {
    "checks": "checknothing",
    "quotas": "quota",
    "reports": "reportnothing",
    "attributes": "kubernetes",
}
EVERYTHING = frozenset(PURPOSES)


@pytest.mark.parametrize(
    ("role", "built"),
    [
        pytest.param("all", EVERYTHING, id="all"),
        pytest.param("policy", EVERYTHING - {"reports"}, id="policy"),
        pytest.param("telemetry", {"reports", "attributes"}, id="telemetry"),
    ],
)
def test_handlers_are_built_where_they_are_called(role: str, built: set[str]) -> None:
    adapter = Adapter("any", frozenset(TEMPLATES), Struct(), lambda _: None)
    texts = [
        OBJECTS.replace("NAME", name).replace("TEMPLATE", template)
        for name, template in PURPOSES.items()
    ]
    snapshot = compile_snapshot(entries(*texts), TEMPLATES, {"any": adapter})
    assert snapshot.problems == ()
    found = MixerRole(role).handlers(snapshot)
    assert set(found) == {f"{name}.handler.istio-system" for name in built}


@pytest.mark.parametrize(
    ("role", "check", "report"),
    [
        pytest.param("all", "", "", id="all"),
        pytest.param("policy", "", "checks", id="policy"),
        pytest.param("telemetry", "reports", "", id="telemetry"),
    ],
)
async def test_calls_for_the_other_role_are_refused(role: str, check: str, report: str) -> None:
    """A proxy that asks the wrong deployment gets an error, never a verdict."""
    engine = FakeEngine()
    shedder = Shedder(Mode.DISABLED, RateLimiter(0, 0), LatencyLimiter(0, 1, 0))
    admission = Admission(shedder, lambda: 0.0, lambda _: None)
    servicer = MixerServicer(engine, admission, MixerRole(role))
    for call, request, takes in (
        (servicer.Check, mixer_pb2.CheckRequest(), check),
        (servicer.Report, mixer_pb2.ReportRequest(attributes=[{}]), report),
    ):
        if not takes:
            await call(request, Context())  # type: ignore[operator]
            continue
        with pytest.raises(Aborted) as refused:
            await call(request, Context())  # type: ignore[operator]
        assert refused.value.code is StatusCode.UNIMPLEMENTED
        assert refused.value.details == f"this Mixer takes {takes} only, by its flag --role"
    assert bool(engine.asked) is not bool(check)
    assert bool(engine.reported) is not bool(report)
