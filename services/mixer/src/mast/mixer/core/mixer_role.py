"""What one Mixer answers: checks, reports or both, so that the two scale apart (mixer.md I)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from mast.mixer.core.config.handlers import UsedHandler
from mast.mixer.core.config.snapshot import Snapshot
from mast.mixer.core.templates import Variety


class MixerRole(StrEnum):
    """Istio ran one binary as `istio-policy` and as `istio-telemetry`."""

    ALL = "all"
    POLICY = "policy"
    TELEMETRY = "telemetry"

    @property
    def checks(self) -> bool:
        """Whether it answers checks, and the quotas in them."""
        return self is not MixerRole.TELEMETRY

    @property
    def reports(self) -> bool:
        """Whether it takes reports."""
        return self is not MixerRole.POLICY

    def handlers(self, snapshot: Snapshot) -> Mapping[str, UsedHandler]:
        """The handlers that are called in this role, by FQN; the others need not be built.

        Attributes are made for checks and reports alike.
        """
        called = {
            action.handler.fqn
            for rule in snapshot.rules
            for action in rule.actions
            if any(self._dispatches(instance.template.variety) for instance in action.instances)
        }
        return {fqn: used for fqn, used in snapshot.handlers.items() if fqn in called}

    def _dispatches(self, variety: Variety) -> bool:
        if variety is Variety.ATTRIBUTE_GENERATOR:
            return True
        return self.reports if variety is Variety.REPORT else self.checks
