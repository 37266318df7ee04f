"""Builders of handlers for adapters that objects describe, and of adapter ``bypass``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from istio.mixer.adapter.bypass.config.config_pb2 import Params
from istio.mixer.adapter.model.v1beta1 import infrastructure_backend_pb2 as sessions
from istio.mixer.template.checknothing import template_handler_service_pb2 as checknothing
from istio.mixer.template.metric import template_handler_service_pb2 as metric
from istio.mixer.template.quota import template_handler_service_pb2 as quota
from istio.mixer.template.reportnothing import template_handler_service_pb2 as reportnothing
from istio.policy.v1beta1 import cfg_pb2
from mast.common.expressions.types import ValueType
from mast.mixer.adapters.datagrams import address_problem
from mast.mixer.adapters.remote.backend import Backend
from mast.mixer.adapters.remote.handler import RemoteHandler
from mast.mixer.adapters.remote.security import FetchToken, Metadata, Security, security
from mast.mixer.core.adapter import Adapter, AdapterError, Handler, HandlerConfig
from mast.mixer.core.dynamic import DynamicAdapter, Service, compiled_service

SERVICES: Final[Mapping[str, Service]] = {
    "checknothing": compiled_service(checknothing),
    "metric": compiled_service(metric),
    "quota": compiled_service(quota),
    "reportnothing": compiled_service(reportnothing),
}
_SESSION: Final = "session_id"
"""Metadata that carries a session."""

Build = Callable[[HandlerConfig], Handler]
NewId = Callable[[], str]


@dataclass(frozen=True)
class RemoteAdapters:
    """Connects to adapters out of process; sessions are not opened for any (G8, G9)."""

    fetch: FetchToken
    clock: Callable[[], float]
    new_id: NewId
    verify_identity: bool = True

    def __call__(self, adapter: DynamicAdapter, connection: cfg_pb2.Connection) -> Build:
        """A builder of handlers for an adapter at a place."""

        def build(config: HandlerConfig) -> RemoteHandler:
            protection = security(
                connection,
                fetch=self.fetch,
                clock=self.clock,
                verify_identity=self.verify_identity,
            )
            timeout = connection.timeout.ToTimedelta()
            backend = Backend(connection.address, protection, timeout or None)
            told = adapter.params is not None and not adapter.session_based
            params = _packed(config.params) if told else None
            return RemoteHandler(config, adapter.services, backend, self.new_id, params)

        return build


def _packed(message: Message) -> AnyMessage:
    found = AnyMessage()
    found.Pack(message)
    return found


class BypassHandler(RemoteHandler):
    """Adapter ``bypass``: forwards to a backend, within a session if it wants one (G9)."""

    def __init__(self, config: HandlerConfig, new_id: NewId) -> None:
        params: Params = config.params
        self._bypassed = params
        self._instances = config.instances
        self._session: Metadata = ()
        backend = Backend(params.backend_address, Security())
        own = None if params.session_based else params.params
        super().__init__(config, SERVICES, backend, new_id, own)

    async def prepare(self) -> None:
        """Have the backend judge the configuration, and open a session."""
        if not self._bypassed.session_based:
            return
        types = {each.name: _types(each.template, each.types) for each in self._instances}
        validated = await self._infrastructure(
            "Validate",
            sessions.ValidateRequest(adapter_config=self._bypassed.params, inferred_types=types),
            sessions.ValidateResponse,
        )
        _insist(validated.status)
        created = await self._infrastructure(
            "CreateSession",
            sessions.CreateSessionRequest(
                adapter_config=self._bypassed.params, inferred_types=types
            ),
            sessions.CreateSessionResponse,
        )
        _insist(created.status)
        self._session = ((_SESSION, created.session_id),)

    async def _infrastructure(self, method: str, request: Message, response: type[Message]) -> Any:
        service = sessions.DESCRIPTOR.services_by_name["InfrastructureBackend"].full_name
        return await self._backend.call(f"/{service}/{method}", request, response)

    async def _call(self, service: Service, request: Message) -> Message:
        return await self._backend.call(service.path, request, service.response, self._session)

    async def close(self) -> None:
        """Close the session and hang up."""
        if self._session:
            request = sessions.CloseSessionRequest(session_id=self._session[0][1])
            try:
                await self._infrastructure("CloseSession", request, sessions.CloseSessionResponse)
            finally:
                await super().close()
        else:
            await super().close()


def _insist(status: Any) -> None:
    if status.code:
        raise AdapterError(f"the backend refuses the configuration: {status.message}")


def _types(template: str, types: Mapping[str, ValueType]) -> AnyMessage:
    """What a session is told of an instance: the message Type of its template."""
    inferred = SERVICES[template].inferred
    assert inferred is not None  # noqa: S101  every compiled template has one
    message: Any = inferred()
    for path, kind in types.items():
        name, bracket, key = path.partition("[")
        described = message.DESCRIPTOR.fields_by_name.get(name)
        if described is None:
            continue
        if bracket:
            getattr(message, name)[key.removesuffix("]")] = int(kind)
        else:
            setattr(message, name, int(kind))
    return _packed(message)


def _validate(config: HandlerConfig) -> Sequence[str]:
    problem = address_problem(config.params.backend_address)
    return (f"backend_{problem}",) if problem else ()


def bypass(new_id: NewId) -> Adapter:
    """The adapter ``bypass``."""

    def build(config: HandlerConfig) -> BypassHandler:
        return BypassHandler(config, new_id)

    return Adapter(
        name="bypass",
        templates=frozenset(SERVICES),
        defaults=Params(),
        build=build,
        validate=_validate,
    )
