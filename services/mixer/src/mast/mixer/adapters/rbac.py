"""Adapter ``rbac``: ServiceRoles of Istio 1.0 decide (mixer.md G.1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration

from istio.mixer.adapter.rbac.config.config_pb2 import Params
from mast.mixer.core.adapter import Adapter, CheckResult, HandlerConfig, Instance
from mast.mixer.core.engine import Status
from mast.mixer.core.roles import Access, Roles

USES: Final = 1_000_000_000
DENIED: Final = Status(7, "RBAC: permission denied.")


class Rbac:
    """Asks the roles of the moment."""

    def __init__(self, params: Params, roles: Roles) -> None:
        self._roles = roles
        self._valid = params.cache_duration.ToTimedelta()

    def check(self, instance: Instance) -> CheckResult:
        """Allowed if some role that the subject has allows the action."""
        allowed = self._roles.allow(access(instance))
        status = Status(0) if allowed else DENIED
        return CheckResult(status, valid_duration=self._valid, valid_use_count=USES)


def access(instance: Instance) -> Access:
    """The fields of an instance of the template authorization."""
    subject, action = instance.fields["subject"], instance.fields["action"]
    return Access(
        user=subject["user"],
        groups=subject["groups"],
        subject_properties=subject["properties"],
        namespace=action["namespace"],
        service=action["service"],
        method=action["method"],
        path=action["path"],
        action_properties=action["properties"],
    )


def _validate(config: HandlerConfig) -> Sequence[str]:
    if config.params.cache_duration.ToTimedelta() < timedelta():
        return ("cache_duration: must not be negative",)
    return ()


def adapter(roles: Roles) -> Adapter:
    """The adapter over these roles.

    Params that say where configuration is stored have no effect: it is shared. Differs from Istio
    1.1 and 1.2, where the adapter could not be built.
    """

    def build(config: HandlerConfig) -> Rbac:
        return Rbac(config.params, roles)

    return Adapter(
        name="rbac",
        templates=frozenset({"authorization"}),
        defaults=Params(cache_duration=Duration(seconds=60)),
        build=build,
        validate=_validate,
    )
