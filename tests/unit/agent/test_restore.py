"""Rules as text for iptables-restore; dumps compared and taken away (citadel-and-agent.md C4)."""

from __future__ import annotations

from mast.agent.core.capture import Capture, rules
from mast.agent.core.restore import (
    dump,
    is_clean,
    removal_input,
    restore_input,
    structure_differences,
)

CAPTURE = Capture(inbound_ports=("80",), redirect_dns=True, dns_servers=("10.0.0.53",))
WANTED = rules(CAPTURE, 4)
FOREIGN = """*filter
:INPUT ACCEPT [0:0]
:DOCKER - [0:0]
-A INPUT -j DOCKER
COMMIT
"""


def saved(text: str) -> str:
    """What iptables-save shows after a restore: ``-N`` becomes a chain with counters."""
    lines = []
    for line in text.splitlines():
        if line.startswith("-N "):
            lines.append(f":{line[3:]} - [0:0]")
        elif line.startswith("-I "):
            chain, _, *words = line.split()[1:]
            lines.append(f"-A {chain} {' '.join(words)}")
        else:
            lines.append(line)
    return "\n".join(lines)


def test_input_makes_chains_before_rules() -> None:
    text = restore_input(WANTED)
    nat, raw = text.split("*raw")
    assert nat.startswith("*nat\n-N ISTIO_INBOUND\n-N ISTIO_REDIRECT\n")
    assert nat.index("-N ISTIO_OUTPUT_DNS") < nat.index("-A ISTIO_INBOUND")
    assert nat.count("-N ") == 5
    assert raw.count("-N ") == 2
    assert text.count("COMMIT\n") == 2
    assert restore_input([]) == ""


def test_positions_insert() -> None:
    text = restore_input(rules(Capture(kubevirt_interfaces=("net1",)), 4))
    assert "-I PREROUTING 1 -i net1 -j ISTIO_REDIRECT\n" in text


def test_what_was_applied_is_equal() -> None:
    assert structure_differences(dump(saved(restore_input(WANTED))), WANTED) == ()


def test_differences_are_named() -> None:
    text = saved(restore_input(WANTED))
    line = "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n"
    assert line in text
    (difference,) = structure_differences(dump(text.replace(line, "")), WANTED)
    assert difference == "nat: chain ISTIO_OUTPUT has 9 rules, want 10"
    doubled = text.replace("-A OUTPUT -j ISTIO_OUTPUT\n", "-A OUTPUT -j ISTIO_OUTPUT\n" * 2)
    (difference,) = structure_differences(dump(doubled), WANTED)
    assert difference == "nat: OUTPUT has 2 jumps into our chains, want 1"
    extra = text.replace("*nat\n", "*nat\n:ISTIO_TPROXY - [0:0]\n")
    (difference,) = structure_differences(dump(extra), WANTED)
    assert difference == "nat: chain ISTIO_TPROXY is not wanted"
    missing = dump("*nat\n:ISTIO_DROP - [0:0]\nCOMMIT\n")
    assert len(structure_differences(missing, WANTED)) > 5


def test_removal_is_what_is_there() -> None:
    text = FOREIGN + saved(restore_input(WANTED))
    found = dump(text)
    removal = removal_input(found)
    assert "-D OUTPUT -j ISTIO_OUTPUT\n" in removal
    assert "-D PREROUTING -p tcp -j ISTIO_INBOUND\n" in removal
    assert removal.index("-D OUTPUT") < removal.index("-F ISTIO_OUTPUT") < removal.index("-X ")
    assert "DOCKER" not in removal
    assert removal_input(dump(FOREIGN)) == ""


def test_clean() -> None:
    assert is_clean(dump(FOREIGN))
    assert is_clean(dump(""))
    assert not is_clean(dump("*nat\n:ISTIO_OUTPUT - [0:0]\nCOMMIT"))


def test_tables_apart() -> None:
    found = dump(FOREIGN + "*nat\n:ISTIO_OUTPUT - [0:0]\nCOMMIT\n")
    assert is_clean(found.of_table("filter"))
    assert not is_clean(found.without_table("filter"))


def test_other_rules_of_built_in_chains_are_not_counted() -> None:
    """They are found by ``-C`` alone; foreign rules may stand beside them."""
    capture = Capture(excluded_interfaces=("eth9",))
    wanted = rules(capture, 4)
    found = dump(saved(restore_input(wanted)).replace("-A PREROUTING -i eth9 -j RETURN\n", ""))
    assert structure_differences(found, wanted) == ()
