"""Names of rules, and the sets of rules that filters hold."""

from __future__ import annotations

import pytest
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac

from mast.cli.envoy.access_rules import RuleName, rule_sets, shown


@pytest.mark.parametrize(
    ("name", "rule", "words"),
    [
        pytest.param(
            "ns[a]-policy[b.c]-rule[12]", RuleName("a", "b.c", 12), "a/b.c rule 12", id="policy"
        ),
        pytest.param(
            "istio-ext-authz-x-ns[a]-policy[b]-rule[0]-deny-due-to-bad-CUSTOM-action",
            RuleName("a", "b", 0),
            "a/b rule 0",
            id="custom",
        ),
        pytest.param("viewer", None, "viewer", id="role"),
        pytest.param("", None, "", id="none"),
    ],
)
def test_names(name: str, rule: RuleName | None, words: str) -> None:
    assert RuleName.of(name) == rule
    assert shown(name) == words


@pytest.mark.parametrize(
    ("prefix", "action"),
    [
        pytest.param("", "ALLOW (dry run)", id="tried"),
        pytest.param("istio_dry_run_allow_", "ALLOW (dry run)", id="dry-run"),
        pytest.param("istio_ext_authz_", "CUSTOM", id="authorizers"),
        pytest.param("mast_triggers_", "TRIGGERS", id="triggers"),
    ],
)
def test_rules_that_only_tell_come_first(prefix: str, action: str) -> None:
    both = HttpRbac(
        rules=RBAC(action=RBAC.LOG),
        shadow_rules=RBAC(action=RBAC.ALLOW),
        shadow_rules_stat_prefix=prefix,
    )
    assert [(each.action, each.enforced) for each in rule_sets(both)] == [
        (action, False),
        ("AUDIT", True),
    ]
    assert list(rule_sets(HttpRbac())) == []
