"""Adapter ``redisquota``: quotas counted in Redis by all replicas together (mixer.md G.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from importlib import resources
from math import ceil
from typing import Any, Final

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from istio.mixer.adapter.redisquota.config.config_pb2 import Params
from mast.mixer.adapters.memquota import cell_key
from mast.mixer.core.adapter import (
    STOCKS,
    Adapter,
    HandlerConfig,
    Instance,
    QuotaArguments,
    QuotaResult,
)
from mast.mixer.core.engine import Status
from mast.mixer.core.values import Value, same

log = structlog.get_logger()

_RESOURCE_EXHAUSTED, _INTERNAL, _UNAVAILABLE = 8, 13, 14
_SECONDS: Final = 3.0
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193
_MILLISECOND: Final = timedelta(milliseconds=1)

Dimensions = Mapping[str, Value]


class Redisquota:
    """All quotas of one handler. Windows follow the clock of the server.

    Differs from Istio: a server that is away when the handler is made does not keep it from being
    made; its quotas are unavailable until the server comes.
    """

    def __init__(self, params: Params, client: redis.Redis) -> None:
        self._quotas = {quota.name: quota for quota in params.quotas}
        self._redis = client
        self._scripts = {
            Params.FIXED_WINDOW: client.register_script(_script("fixed")),
            Params.ROLLING_WINDOW: client.register_script(_script("rolling")),
        }

    async def quota(self, instance: Instance, arguments: QuotaArguments) -> QuotaResult:
        """Allocate in one atomic script; an instance without a quota gets nothing, and OK."""
        quota = self._quotas.get(instance.name)
        if quota is None or not arguments.amount:
            return QuotaResult()
        key, limit = _cell(quota, instance.fields["dimensions"])
        window = ceil(quota.valid_duration.ToTimedelta() / _MILLISECOND)
        bucket = ceil(quota.bucket_duration.ToTimedelta() / _MILLISECOND)
        # One hash slot for both, so that a cluster takes the script.
        keys = [f"{{{key}}}", f"{{{key}}}/id/{arguments.deduplication_id}"]
        asked = [arguments.amount, limit, window, int(arguments.best_effort), bucket]
        more = [int(bool(arguments.deduplication_id)), arguments.stock, STOCKS]
        try:
            answer = await self._scripts[quota.rate_limit_algorithm](keys, [*asked, *more])
        except (RedisError, OSError) as error:
            log.warning("redisquota.unavailable", quota=instance.name, error=str(error))
            return _refused(_UNAVAILABLE, "Service Unavailable")
        return _result(answer, arguments.amount)

    async def prepare(self) -> None:
        """Look whether the server is there."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            log.warning("redisquota.unavailable", error=str(error))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()


def _script(name: str) -> str:
    return resources.files("mast.mixer.adapters").joinpath(f"redisquota_{name}.lua").read_text()


def _result(answer: Any, amount: int) -> QuotaResult:
    """Granted amount and milliseconds of validity, as the scripts give them."""
    if not (
        isinstance(answer, list) and len(answer) == 2 and all(isinstance(e, int) for e in answer)
    ):
        return _refused(_INTERNAL, "Internal Error")
    granted, milliseconds = answer
    if amount > 0 and granted <= 0:
        return _refused(_RESOURCE_EXHAUSTED, "Resource exhausted")
    return QuotaResult(max(granted, 0), milliseconds * _MILLISECOND if amount > 0 else timedelta())


def _refused(code: int, text: str) -> QuotaResult:
    return QuotaResult(status=Status(code, f"redisquota: {text}"))


def _cell(quota: Params.Quota, dimensions: Dimensions) -> tuple[str, int]:
    """Key and limit: the first override whose dimensions are all there and equal has its own."""
    for override in quota.overrides:
        if all(
            name in dimensions and same(value, dimensions[name])
            for name, value in override.dimensions.items()
        ):
            return f"{quota.name}-{_fnv(override.dimensions)}", override.max_amount
    return cell_key(quota.name, dimensions), quota.max_amount


def _fnv(dimensions: Mapping[str, str]) -> int:
    """FNV-1a, 32 bits, of lines ``name TAB value``."""
    found = _FNV_OFFSET
    for byte in "".join(f"{name}\t{dimensions[name]}\n" for name in sorted(dimensions)).encode():
        found = (found ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return found


def _validate(config: HandlerConfig) -> Sequence[str]:
    params = config.params
    problems = []
    if not params.redis_server_url:
        problems.append("redis_server_url: must not be empty")
    if params.connection_pool_size < 0:
        problems.append(f"connection_pool_size: {params.connection_pool_size} is negative")
    names = [quota.name for quota in params.quotas]
    problems += [
        f"did not find limit defined for quota {instance.name}"
        for instance in config.instances
        if instance.name not in names
    ]
    for index, quota in enumerate(params.quotas):
        problems += [f"quotas[{index}].{problem}" for problem in _quota_problems(quota)]
    return problems


def _quota_problems(quota: Params.Quota) -> Iterator[str]:
    window, bucket = quota.valid_duration.ToTimedelta(), quota.bucket_duration.ToTimedelta()
    if not quota.name:
        yield "name: must not be empty"
    if quota.max_amount <= 0:
        yield f"max_amount: {quota.max_amount} must be > 0"
    if window < _MILLISECOND:
        yield "valid_duration: must be at least a millisecond"
    rolling = quota.rate_limit_algorithm == Params.ROLLING_WINDOW
    if rolling and not _MILLISECOND <= bucket < window:
        yield "bucket_duration: must be > 0 and shorter than valid_duration"
    for index, override in enumerate(quota.overrides):
        if override.max_amount <= 0:
            yield f"overrides[{index}].max_amount: {override.max_amount} must be > 0"
        if not override.dimensions:
            yield f"overrides[{index}].dimensions: must not be empty"


def client(params: Params) -> redis.Redis:
    """Connections to ``HOST:PORT``, or to a URL ``redis://`` or ``rediss://`` with credentials."""
    url = params.redis_server_url
    pool = redis.BlockingConnectionPool.from_url(
        url if "://" in url else f"redis://{url}",
        max_connections=params.connection_pool_size or 10,
        timeout=_SECONDS,
        socket_timeout=_SECONDS,
        socket_connect_timeout=_SECONDS,
    )
    return redis.Redis.from_pool(pool)


def adapter(connect: Callable[[Params], redis.Redis] = client) -> Adapter:
    """The adapter; ``connect`` makes the client that params name."""

    def build(config: HandlerConfig) -> Redisquota:
        return Redisquota(config.params, connect(config.params))

    return Adapter(
        name="redisquota",
        templates=frozenset({"quota"}),
        defaults=Params(redis_server_url="localhost:6379", connection_pool_size=10),
        build=build,
        validate=_validate,
    )
