"""What replicas of services publish of objects, put together."""

from __future__ import annotations

from mast.common.keys import ConfigKey, config_status_key, mixer_status_key
from mast.galley.core.findings import findings
from mastapi.status.v1.status_pb2 import ConfigStatus, Finding, MixerStatus, ObjectName

RULES = "istio/policy/v1beta1/rules"
NAME = ObjectName(collection=RULES, namespace="shop", name="r")
NO_HANDLER = Finding(fault="errors_total", key="actions[0].handler", message="Handler not found")
NO_ACTIONS = Finding(fault="errors_total", message="No valid actions found in rule")


def mixer(replica: str, *found: Finding) -> dict[str, bytes]:
    status = MixerStatus(replica=replica, objects=[ConfigStatus(object=NAME, findings=found)])
    return {mixer_status_key(replica): status.SerializeToString()}


def test_what_replicas_agree_on_is_one_finding() -> None:
    """Each finding has those who say so; Pilot says other things of the same object."""
    unreadable = Finding(fault="pilot_unreadable_configs", message="The value is kept out.")
    pilot = ConfigStatus(object=NAME, pilot="p-1", findings=[unreadable])
    statuses = {
        **mixer("a", NO_HANDLER, NO_ACTIONS),
        **mixer("b", NO_ACTIONS),
        config_status_key(RULES, "shop", "r", "p-1"): pilot.SerializeToString(),
        mixer_status_key("broken"): b"\xff",
    }
    ((key, found),) = findings(statuses).items()
    assert key == ConfigKey(RULES, "shop", "r")
    assert [(each.message, list(each.reporters)) for each in found] == [
        ("The value is kept out.", ["pilot/p-1"]),
        ("Handler not found", ["mixer/a"]),
        ("No valid actions found in rule", ["mixer/a", "mixer/b"]),
    ]
    assert (found[1].fault, found[1].key) == ("errors_total", "actions[0].handler")


def test_without_statuses_there_is_nothing() -> None:
    assert findings(mixer("a")) == {}
    assert findings({}) == {}
