"""Handlers whose adapter is out of process: instances to requests, answers to verdicts (G8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status as RpcStatus

from mast.mixer.adapters.denier import direct_response
from mast.mixer.adapters.remote.backend import Backend
from mast.mixer.core.adapter import (
    AdapterError,
    Batch,
    CheckResult,
    HandlerConfig,
    Instance,
    QuotaArguments,
    QuotaResult,
)
from mast.mixer.core.dynamic import Service
from mast.mixer.core.engine import Status
from mast.mixer.core.messages import fill, read
from mast.mixer.core.values import Value


class RemoteHandler:
    """Calls an adapter without a session; its parameters go with every call."""

    def __init__(
        self,
        config: HandlerConfig,
        services: Mapping[str, Service],
        backend: Backend,
        new_id: Callable[[], str],
        params: AnyMessage | None,
    ) -> None:
        """``services`` by template; ``params`` None: the adapter is not told any."""
        self._types = {each.name: each.types for each in config.instances}
        self._services = services
        self._backend = backend
        self._new_id = new_id
        self._params = params

    async def check(self, instance: Instance) -> CheckResult:
        """The adapter's verdict; raises AdapterError."""
        answer = await self._ask(instance)
        # With output the verdict is a part of the answer.
        verdict = getattr(answer, "result", answer)
        status = RpcStatus.FromString(verdict.status.SerializeToString())
        output = read(answer.output) if hasattr(answer, "output") else {}
        return CheckResult(
            Status(status.code, status.message),
            verdict.valid_duration.ToTimedelta(),
            verdict.valid_use_count,
            direct_response(status.details),
            output,
        )

    async def quota(self, instance: Instance, arguments: QuotaArguments) -> QuotaResult:
        """What the adapter grants; its answer must be about this instance."""
        answer = await self._ask(instance, arguments)
        if instance.name not in answer.quotas:
            raise AdapterError(f"the adapter did not answer for quota {instance.name}")
        granted = answer.quotas[instance.name]
        return QuotaResult(granted.granted_amount, granted.valid_duration.ToTimedelta())

    async def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        """All records in one call (A22)."""
        instances = [each for batch in batches for each in batch.instances()]
        if not instances:
            return ()
        service = self._service(instances[0])
        request: Any = self._request(service, self._new_id())
        for each in instances:
            self._put(request.instances.add(), each)
        await self._call(service, request)
        return ()

    async def generate(self, instance: Instance) -> Mapping[str, Value]:
        """The adapter's outputs."""
        return read(await self._ask(instance))

    @property
    def generation(self) -> None:
        """An adapter may answer otherwise at any time."""
        return

    async def _ask(self, instance: Instance, arguments: QuotaArguments | None = None) -> Any:
        service = self._service(instance)
        id = arguments.deduplication_id if arguments else ""
        request: Any = self._request(service, id or self._new_id())
        self._put(request.instance, instance)
        if arguments is not None:
            asked = request.quota_request.quotas[instance.name]
            asked.amount, asked.best_effort = arguments.amount, arguments.best_effort
        return await self._call(service, request)

    def _service(self, instance: Instance) -> Service:
        return self._services[instance.template]

    def _request(self, service: Service, id: str) -> Message:
        request: Any = service.request()
        request.dedup_id = id
        if self._params is not None:
            # Field by field: the request's descriptors are its own.
            request.adapter_config.type_url = self._params.type_url
            request.adapter_config.value = self._params.value
        return request  # type: ignore[no-any-return]

    def _put(self, target: Any, instance: Instance) -> None:
        target.name = instance.name
        fill(target, instance.fields, self._types.get(instance.name, {}))

    async def _call(self, service: Service, request: Message) -> Message:
        return await self._backend.call(service.path, request, service.response)

    async def close(self) -> None:
        """Hang up."""
        await self._backend.close()
