"""Tables and groups share what did not change with their snapshots."""

from mast.pilot.core.model.table import Groups, Table


def test_a_snapshot_stays() -> None:
    table: Table[str, int] = Table()
    table.put("a", 1)
    before = table.snapshot()
    table.put("a", 2)
    table.put("b", 3)
    table.put("nothing", None)
    assert before == {"a": 1}
    assert table.snapshot() == {"a": 2, "b": 3}
    assert table.get("a") == 2
    table.put("a", None)
    assert table.get("a") is None


def test_a_table_without_changes_gives_the_same_snapshot() -> None:
    table: Table[str, int] = Table()
    table.put("a", 1)
    assert table.snapshot() is table.snapshot()


def test_groups_are_ordered_and_vanish_when_empty() -> None:
    groups: Groups[str, str] = Groups(key=lambda each: (len(each), each))
    groups.add("ccc", ["x", "y"])
    groups.add("b", ["x"])
    groups.add("a", ["x"])
    before = groups.snapshot()
    assert before == {"x": ("a", "b", "ccc"), "y": ("ccc",)}
    groups.move("ccc", ["x", "y"], ["x", "z"])
    groups.remove("a", ["x"])
    assert groups.snapshot() == {"x": ("b", "ccc"), "z": ("ccc",)}
    assert before == {"x": ("a", "b", "ccc"), "y": ("ccc",)}
    assert groups.snapshot() is groups.snapshot()
