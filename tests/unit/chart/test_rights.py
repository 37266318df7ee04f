"""Rights of service accounts: those of the table in docs/install.md, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chart import Object, profile, rendered, set_values
from tests.unit.chart.test_renders import COMBINATIONS

DOCUMENT = Path(__file__).parents[3] / "docs" / "install.md"
ACCOUNTS = {
    "istio-citadel-service-account": "citadel",
    "istio-galley-service-account": "galley",
    "mast-bootstrap": "bootstrap",
    "istio-reader-service-account": "reader",
    "istio-cni": "cni",
}

Right = tuple[str, str, str, str, bool]


def documented(**switches: bool) -> Iterator[Right]:
    """Who, group, resource, verb, whether in the whole cluster; by the rows that count."""
    lines = DOCUMENT.read_text().splitlines()
    start = lines.index("| who | group | resources | verbs | where, when |")
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        who, groups, resources, verbs, where = (
            each.strip() for each in line.strip("|").split(" | ")
        )
        _, _, condition = where.partition("; ")
        switch = condition.split("`")[1] if condition else ""
        if switch and not switches.get(switch):
            continue
        for group in groups.split(", "):
            for resource in resources.split(", "):
                for verb in verbs.split(", "):
                    yield (
                        who,
                        group.replace("core", ""),
                        resource,
                        verb,
                        where.startswith("cluster"),
                    )


def granted(found: list[Object]) -> Iterator[Right]:
    roles = {(each["kind"], each["metadata"]["name"]): each["rules"] for each in found
             if each["kind"] in {"Role", "ClusterRole"}}  # fmt: skip
    for each in found:
        if each["kind"] not in {"RoleBinding", "ClusterRoleBinding"}:
            continue
        (subject,) = each["subjects"]
        rules = roles.pop((each["roleRef"]["kind"], each["roleRef"]["name"]))
        for rule in rules:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        whole = each["kind"] == "ClusterRoleBinding"
                        yield ACCOUNTS[subject["name"]], group, resource, verb, whole
    assert roles == {}, "roles that nobody has"


CASES = [
    pytest.param({}, {}, id="default"),
    pytest.param(
        COMBINATIONS["1.4-names"],
        {"security.workloadSecrets": True, "security.trustedNodeAccounts": True},
        id="switches",
    ),
    pytest.param(
        set_values("galley.enableAnalysis", True), {"galley.enableAnalysis": True}, id="analysis"
    ),
    pytest.param(profile("remote"), {"remote": True}, id="remote"),
    pytest.param(
        COMBINATIONS["cni"],
        {"cni.enabled": True, "cni.repair.enabled": True, "cni.repair.labelPods": True},
        id="cni",
    ),
    pytest.param(COMBINATIONS["cni-without-repair"], {"cni.enabled": True}, id="cni-alone"),
]


@pytest.mark.parametrize(("values", "switches"), CASES)
def test_rights_are_those_of_the_document(values: Object, switches: dict[str, bool]) -> None:
    found = set(granted(rendered(values)))
    wanted = set(documented(**switches))
    if "remote" in switches:
        wanted = {each for each in wanted if each[0] == "reader"}
    assert found == wanted


@pytest.mark.parametrize(("values", "switches"), CASES)
def test_nobody_may_do_anything(values: Object, switches: dict[str, bool]) -> None:
    """No wildcard of verbs or groups; secrets are made by those who must."""
    for _, group, resource, verb, whole in granted(rendered(values)):
        assert "*" not in {group, verb}
        assert resource != "*" or group.endswith((".istio.io", "gateway.networking.k8s.io"))
        if (resource, verb) == ("secrets", "create"):
            assert not whole or switches.get("security.workloadSecrets")


def test_the_job_reads_what_it_makes_only() -> None:
    (role,) = [
        each
        for each in rendered()
        if each["kind"] == "Role" and each["metadata"]["name"] == "mast-bootstrap"
    ]
    names = {name for rule in role["rules"] for name in rule.get("resourceNames", ())}
    text = DOCUMENT.read_text()
    assert {"mast-ca-key", "mast-secrets-key", "mast-etcd-root"} < names
    assert all(name in text or f"`-{name.rpartition('-')[2]}`" in text for name in names)


def test_nobody_else_has_rights() -> None:
    subjects = {
        subject["name"]
        for each in rendered(set_values("gateways.istio-egressgateway.enabled", True))
        for subject in each.get("subjects", ())
    }
    assert subjects < set(ACCOUNTS)
