"""A judgement document by document."""

from __future__ import annotations

import pytest

from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.verdicts import verdicts

HEAD = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
GOOD = HEAD + "metadata: {name: good, namespace: shop}\nspec: {host: a}\n"
BAD = HEAD + "metadata: {name: bad}\nspec:\n  host: a b\n  workloadSelector: {}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\nspec: {}\n"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {settings: x}\n"
NAMELESS = HEAD + "spec: {host: a b, nothing: 1}\n"


def told(*parts: str) -> list[str]:
    """``line kind namespace/name: errors | warnings | notes``, each by line and rule."""
    reading = read_text("---\n".join(parts), "a.yaml", Defaults(skip_foreign=True))
    found = []
    for each in verdicts(judge(reading)):
        lists = (each.errors, each.warnings, each.notes)
        rules = " | ".join(" ".join(f"{p.position.line}:{p.rule}" for p in one) for one in lists)
        name = f"{each.namespace}/{each.name}"
        found.append(f"{each.position.line} {each.kind} {name}: {rules}")
    return found


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param([GOOD], ["1 DestinationRule shop/good:  |  | "], id="valid"),
        pytest.param([GOOD, BAD],
                     ["1 DestinationRule shop/good:  |  | ",
                      "6 DestinationRule default/bad: 10:host | 11:empty-selector | "],
                     id="errors-and-warnings"),
        pytest.param([SERVICE, CONFIG_MAP, GOOD],
                     ["1 Service shop/s:  |  | 2:unknown-kind",
                      "6 ConfigMap /c:  |  | 7:unknown-kind",
                      "11 DestinationRule shop/good:  |  | "], id="other-kinds"),
        pytest.param([NAMELESS, GOOD],
                     ["1 DestinationRule default/: 1:required 3:unknown-field |  | ",
                      "5 DestinationRule shop/good:  |  | "], id="without-a-name"),
        pytest.param([GOOD, GOOD],
                     ["1 DestinationRule shop/good:  |  | ",
                      "6 DestinationRule shop/good: 6:duplicate-object |  | "], id="given-twice"),
        pytest.param([GOOD.replace("{host: a}", "{host: a, host: b}"), GOOD.replace("good", "x")],
                     ["1 DestinationRule shop/good: 4:duplicate-key |  | ",
                      "6 DestinationRule shop/x:  |  | "], id="key-twice"),
        pytest.param(["a: [\n", GOOD], ["2  /: 2:malformed-yaml |  | ",
                     "3 DestinationRule shop/good:  |  | "], id="broken-yaml"),
        pytest.param([f"kind: List\nitems:\n- {{{', '.join(BAD.splitlines()[:3])}, spec: {{x: 1}}}}"
                      f"\n- {{{', '.join(GOOD.splitlines())}}}\n"],
                     ["3 DestinationRule default/bad: 3:required 3:unknown-field |  | ",
                      "4 DestinationRule shop/good:  |  | "], id="list"),
        pytest.param([HEAD.replace("Rule", "Rulez") + "metadata: {name: a}\n"],
                     ["1 DestinationRulez /a: 2:unknown-kind |  | "], id="misspelt-kind"),
        pytest.param(["5\n"], ["1  /: 1:not-an-object |  | "], id="no-object"),
    ],
)  # fmt: skip
def test_every_document_has_one(parts: list[str], expected: list[str]) -> None:
    assert told(*parts) == expected


def test_mesh_settings_of_a_config_map_have_their_own() -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
        "data:\n  mesh: |\n    connectTimeout: 2h\n    connectTimeout: 1s\n"
    )
    assert told(text) == [
        "5 MeshConfig istio-system/default: 6:duration 7:duplicate-key |  | ",
    ]
