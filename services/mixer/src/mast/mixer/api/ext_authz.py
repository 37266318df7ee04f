"""Envoy's ext_authz face: checks of requests and connections (mixer_proxy.md K)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import grpc.aio
import structlog
from envoy.service.auth.v3 import external_auth_pb2_grpc
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.struct_pb2 import Struct

from mast.mixer.api.admission import Admission
from mast.mixer.api.callers import check_reporter
from mast.mixer.api.errors import Context, aborting
from mast.mixer.core import status_codes
from mast.mixer.core.api_specs import NOTHING, ApiAttributes
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import CheckFailed, CheckVerdict, Engine, QuotaAsk
from mast.mixer.core.envoy_attributes import INBOUND, MARKS, Registry, Reporter, check_attributes
from mast.mixer.core.verdict_metadata import (
    LIFETIME,
    Charge,
    Charges,
    Responses,
    error_response,
)
from mast.mixer.core.workloads import packed_ip

SERVICE = "envoy.service.auth.v3.Authorization"

# What Pilot gives proxies to tell begins so, and of how many of them it is remembered.
_GIVEN = "x-mixer-"
_PROXIES = 10_000

log = structlog.get_logger()


class Authorization(external_auth_pb2_grpc.AuthorizationServicer):
    """Answers checks; ``client`` gives the quotas and APIs of the moment."""

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        client: Callable[[], ClientConfig],
        admission: Admission,
        now: Callable[[], datetime],
        lifetime: timedelta = LIFETIME,
    ) -> None:
        self._admission = admission
        self._now = now
        self._engine = engine
        self._registry = registry
        self._client = client
        self._lifetime = lifetime
        self._responses = Responses(lifetime=lifetime)

    async def Check(self, request: CheckRequest, context: Context) -> CheckResponse:
        """A verdict; an OK, a denial, or an error that the proxy's fail policy decides on (A39)."""
        async with aborting(context):
            started = self._admission.admit(1)
            response = await self._check(request, context)
            self._admission.done(started)
        return response

    async def _check(self, request: CheckRequest, context: Context) -> CheckResponse:
        reporter = _reporter(context)
        check_reporter(context, reporter.uid)
        attributes = check_attributes(request, reporter, self._registry, self._now())
        http = request.attributes.request.HasField("http")
        # Read before anything is judged: what is told may be older than the verdict, never newer.
        client, charges = self._client(), Charges()
        apis = client.apis.attributes(attributes) if http else NOTHING
        attributes.update(apis.values)
        # Quotas are charged where the service is, over HTTP (C17).
        if http and reporter.kind == INBOUND:
            amounts, references = client.quotas.charges(attributes)
            charges = _charges(amounts, references, _asks(request))
        asks = {each.quota: QuotaAsk(each.amount, stock=each.stock) for each in charges.charges}
        try:
            verdict = await self._engine.check(
                attributes, asks, deduplication_id=_deduplication_id(request, reporter)
            )
        except CheckFailed as error:
            log.warning("check.failed", uid=reporter.uid, error=str(error))
            if not http:
                raise
            return error_response(status_codes.INTERNAL, str(error), client.configuration)
        if apis.origins:
            verdict = _traced(verdict, apis)
            charges = replace(charges, references=apis.traced(charges.references))
        if client.configuration != self._responses.configuration:
            self._responses = Responses(configuration=client.configuration, lifetime=self._lifetime)
        return self._responses.of(
            verdict, charges, reporter.kind, request.attributes.request.http.headers
        )


def register(
    server: grpc.aio.Server,
    engine: Engine,
    registry: Registry,
    client: Callable[[], ClientConfig],
    admission: Admission,
    now: Callable[[], datetime],
    lifetime: timedelta = LIFETIME,
) -> None:
    """Serve ext_authz on a server; its full name is :data:`SERVICE`.

    Proxies may keep verdicts for ``lifetime``.
    """
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(
        Authorization(engine, registry, client, admission, now, lifetime), server
    )


def _traced(verdict: CheckVerdict, apis: ApiAttributes) -> CheckVerdict:
    """The verdict with what Envoy can read in place of attributes of APIs."""
    quotas = {
        name: replace(grant, referenced=apis.traced(grant.referenced))
        for name, grant in verdict.quotas.items()
    }
    return replace(verdict, referenced=apis.traced(verdict.referenced), quotas=quotas)


def _reporter(context: Context) -> Reporter:
    """The proxy, as the metadata that Pilot gave it says (C.5, static)."""
    given = context.invocation_metadata() or ()
    return _told_by(tuple((key, value) for key, value in given if key.startswith(_GIVEN)))


@lru_cache(_PROXIES)
def _told_by(given: tuple[tuple[str, str | bytes], ...]) -> Reporter:
    told = {
        key: value if isinstance(value, str) else value.decode("utf-8", "replace")
        for key, value in given
    }
    return Reporter(
        kind=told.get("x-mixer-reporter", INBOUND),
        uid=told.get("x-mixer-uid", ""),
        version=_told(told.get("x-mixer-proxy-version", "")),
        address=packed_ip(told.get("x-mixer-address", "")),
        mesh=_told(told.get("x-mixer-mesh-id", "")),
    )


def _told(text: str) -> str:
    """What a variable of the proxy holds; Envoy writes a dash for one that is not set."""
    return "" if text == "-" else text


def _asks(request: CheckRequest) -> Mapping[str, int]:
    """What the check cache would like to have of each quota, in stock."""
    metadata: Mapping[str, Struct] = request.attributes.metadata_context.filter_metadata
    if MARKS not in metadata:
        return {}
    asks = metadata[MARKS].fields.get("asks")
    if asks is None:
        return {}
    return {name: int(value.number_value) for name, value in asks.struct_value.fields.items()}


def _charges(amounts: Mapping[str, int], references: Any, asks: Mapping[str, int]) -> Charges:
    return Charges(
        [
            Charge(name, amount, max(asks.get(name, 0) - amount, 0))
            for name, amount in amounts.items()
        ],
        references,
    )


def _deduplication_id(request: CheckRequest, reporter: Reporter) -> str:
    """Equal for the attempts of one check, different for any two requests.

    Not the request id: clients choose it, and pass it on to all calls of a trace.
    """
    context = request.attributes
    time = context.request.time
    return f"{reporter.uid}/{context.request.http.id}/{time.seconds}.{time.nanos}"
