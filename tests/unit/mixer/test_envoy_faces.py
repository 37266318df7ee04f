"""The ext_authz and access-log faces over gRPC, without an Envoy."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import grpc
import grpc.aio
import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from envoy.service.accesslog.v3.als_pb2_grpc import AccessLogServiceStub
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub
from structlog.testing import capture_logs

from mast.mixer.api import access_log, ext_authz
from mast.mixer.api.access_log import Intake
from mast.mixer.api.admission import Admission
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import CheckFailed, CheckVerdict
from mast.mixer.core.shedding import Mode
from mast.mixer.core.tcp_flows import Entries
from mast.mixer.core.values import Attributes
from mastapi.mixer.v1.access_log_pb2 import AccessLogMessage
from tests.support.messages import made
from tests.support.mixer_mesh import Pods, ScriptedEngine, admission, admit_all, mixer
from tests.support.until import until

HTTP = "attributes: {request: {http: {path: /, method: GET, host: a}}}"
TCP = "attributes: {source: {address: {socket_address: {address: 10.0.0.1, port_value: 1}}}}"
NODE = "identifier: {log_name: inbound, node: {id: sidecar~10.0.0.2~web-1.shop~d}}\n"
TWO_REQUESTS = "http_logs: {log_entry: [{request: {path: /1}}, {request: {path: /2}}]}"
CLOSED = "tcp_logs: {log_entry: [{common_properties: {access_log_type: TcpConnectionEnd}}]}"


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def channel(request: pytest.FixtureRequest) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to both faces over the engine and admission that a test asks for."""
    engine, door = request.param

    def register(server: grpc.aio.Server) -> None:
        ext_authz.register(server, engine, Pods(), ClientConfig, door, now)
        access_log.register(server, engine, Pods(), ClientConfig, door, now)

    async with mixer(register) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened


def fail(_: Attributes) -> CheckVerdict:
    raise CheckFailed("adapter broke")


BROKEN = ScriptedEngine(fail)
SHUT: Admission = admission(Mode.ENFORCE, rate=1e-9, burst=0)


async def check(channel: grpc.aio.Channel, text: str):
    async with asyncio.timeout(10):
        return await AuthorizationStub(channel).Check(made(CheckRequest, text))


async def logged(channel: grpc.aio.Channel, *texts: str) -> None:
    messages = [made(StreamAccessLogsMessage, text) for text in texts]
    async with asyncio.timeout(10):
        await AccessLogServiceStub(channel).StreamAccessLogs(iter(messages))


@pytest.mark.parametrize("channel", [(BROKEN, admit_all())], indirect=True)
async def test_no_verdict_is_an_error_response_for_requests(channel) -> None:
    response = await check(channel, HTTP)
    assert response.error_response.body == "INTERNAL:adapter broke"


@pytest.mark.parametrize("channel", [(BROKEN, admit_all())], indirect=True)
async def test_no_verdict_is_an_error_of_the_call_for_connections(channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await check(channel, TCP)
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert raised.value.details() == "adapter broke"


@pytest.mark.parametrize("channel", [(ScriptedEngine(), SHUT)], indirect=True)
async def test_checks_are_shed(channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await check(channel, HTTP)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert raised.value.details() == "Server is currently overloaded. Please try again."


SHED = ScriptedEngine()


@pytest.mark.parametrize("channel", [(SHED, SHUT)], indirect=True)
async def test_reports_are_shed_without_ending_the_stream(channel) -> None:
    await logged(channel, NODE + TWO_REQUESTS, TWO_REQUESTS)
    assert SHED.reported == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(AccessLogMessage(identifier=b"\xff"), id="identifier"),
        pytest.param(AccessLogMessage(identifier=b"", tcp_logs=b"\xff"), id="connections"),
        pytest.param(
            AccessLogMessage(
                identifier=b"", http_logs={"log_entry": [{"response": {"response_code": b"\xff"}}]}
            ),
            id="request",
        ),
    ],
)
@pytest.mark.parametrize("channel", [(ScriptedEngine(), admit_all())], indirect=True)
async def test_what_is_no_message_ends_the_stream(channel, sent) -> None:
    call = channel.stream_unary(
        f"/{access_log.SERVICE}/StreamAccessLogs", AccessLogMessage.SerializeToString
    )
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async with asyncio.timeout(10):
            await call(iter([sent]))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


TOLD = ScriptedEngine()


@pytest.mark.parametrize("channel", [(TOLD, admit_all())], indirect=True)
async def test_the_first_message_tells_whose_entries_follow(channel) -> None:
    await logged(channel, NODE + TWO_REQUESTS, TWO_REQUESTS, CLOSED, "{}")
    paths = [each.get("request.path") for each in TOLD.reported]
    assert paths == ["/1", "/2", "/1", "/2", None]
    assert {each["destination.uid"] for each in TOLD.reported} == {"kubernetes://web-1.shop"}


@pytest.mark.parametrize("channel", [(ScriptedEngine(), admit_all())], indirect=True)
async def test_entries_of_nobody_are_refused(channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await logged(channel, TWO_REQUESTS)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "identifier: the first message must have it"


class Losing(ScriptedEngine):
    """Delivers nothing."""

    async def report(self, records: Sequence[Attributes]) -> Sequence[str]:
        return ["lost", "and found"]


@pytest.mark.parametrize("channel", [(Losing(), admit_all())], indirect=True)
async def test_what_is_lost_is_logged_once_per_batch(channel) -> None:
    with capture_logs() as events:
        await logged(channel, NODE + TWO_REQUESTS)
    (event,) = [each for each in events if each["event"] == "report.failed"]
    assert (event["records"], event["errors"], event["first"]) == (2, 2, "lost")


@dataclass
class Shelf:
    """Where one Mixer leaves what another takes."""

    left: dict[str, Entries] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def leave(self, node_id: str, reported: Callable[[], Entries]) -> None:
        self.left[node_id] = reported()

    async def take(self, node_id: str) -> Entries:
        self.asked.append(node_id)
        return self.left.get(node_id, Entries())


OPEN = """
tcp_logs:
  log_entry:
  - common_properties: {access_log_type: %s, stream_id: '1'}
    connection_properties: {received_bytes: %d}
"""


async def test_streams_end_when_mixer_closes_and_another_goes_on() -> None:
    """After a message, which counts; what was reported of connections is handed over (K6)."""
    shelf, told = Shelf(), list[tuple[str, str, int]]()
    for last, kind, reported in ((5, "TcpPeriodic", 5), (12, "TcpConnectionEnd", 7)):
        engine = ScriptedEngine()
        intake = Intake(counted=lambda *each: told.append(each), handover=shelf)
        register = partial(_register, engine, intake)
        async with (
            mixer(register) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as to,
            asyncio.timeout(20),
        ):
            call = AccessLogServiceStub(to).StreamAccessLogs()
            await call.write(made(StreamAccessLogsMessage, NODE + TWO_REQUESTS))
            await until(lambda engine=engine: len(engine.reported) == 2)
            await intake.close()
            await call.write(made(StreamAccessLogsMessage, OPEN % (kind, last)))
            assert await call.code() is grpc.StatusCode.OK
        assert engine.reported[-1]["connection.received.bytes"] == reported
    node = "sidecar~10.0.0.2~web-1.shop~d"
    assert shelf.asked == [node, node]
    (entry,) = shelf.left[node].log_entry
    assert entry.connection_properties.received_bytes == 5
    assert told == [("http", "taken", 2), ("tcp", "taken", 1)] * 2


def _register(engine: ScriptedEngine, intake: Intake, server: grpc.aio.Server) -> None:
    access_log.register(server, engine, Pods(), ClientConfig, admit_all(), now, intake)


@pytest.mark.parametrize("entries", [TWO_REQUESTS, CLOSED])
async def test_what_is_shed_is_counted(entries: str) -> None:
    told = list[tuple[str, str, int]]()
    intake = Intake(counted=lambda *each: told.append(each))

    def register(server: grpc.aio.Server) -> None:
        access_log.register(server, ScriptedEngine(), Pods(), ClientConfig, SHUT, now, intake)

    async with mixer(register) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as to:
        await logged(to, NODE + entries)
    assert told == [("http", "shed", 2) if entries == TWO_REQUESTS else ("tcp", "shed", 1)]
