"""What proxies tell Mixer about metrics: which not to count, and with which labels (K5, L).

Reports carry a tag with a JSON object, the same for all of a listener, and one tag for each
expression that a label is to have as its value. Mixer's adapters apply them.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag

from mast.pilot.core.telemetry.policies import Measures

TAG: Final = "telemetry"
"""Name of the tag with the JSON object; those of expressions have `.N` behind it."""

_TO_TEXT: Final = re.compile(r"\s*string\((.*)\)\s*", re.DOTALL)


def metric_tags(measures: Measures) -> tuple[CustomTag, ...]:
    """The tags of reports, none if everything is measured as usual.

    The object has `disabled`, a list of metrics, and `labels`: for each metric an object with, by
    label, the number of the tag with its value, or null for a label to leave out.
    """
    return tuple(_tags(measures))


def _tags(measures: Measures) -> Iterator[CustomTag]:
    if not measures.disabled and not measures.tags:
        return
    expressions = sorted(
        {text for tags in measures.tags.values() for text in tags.values() if text is not None}
    )
    numbers = {text: number for number, text in enumerate(expressions)}
    labels = {
        metric: {
            name: None if text is None else numbers[text] for name, text in sorted(tags.items())
        }
        for metric, tags in measures.tags.items()
    }
    told = {"disabled": sorted(measures.disabled), "labels": labels}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    yield CustomTag(tag=TAG, literal=CustomTag.Literal(value=text))
    for number, expression in enumerate(expressions):
        yield CustomTag(tag=f"{TAG}.{number}", value=f"%CEL({_bare(expression)})%")


def _bare(expression: str) -> str:
    """The inside of `string(...)`, a function that Envoy lacks: it writes any value as text."""
    inside = _TO_TEXT.fullmatch(expression)
    return inside[1] if inside else expression
