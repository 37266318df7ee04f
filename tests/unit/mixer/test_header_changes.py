"""Header operations as Envoy can do them (mixer_proxy.md K1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast.mixer.core.engine import HeaderOperation, Operation
from mast.mixer.core.header_changes import HeaderChanges, collapsed

REPLACE, REMOVE, APPEND = Operation.REPLACE, Operation.REMOVE, Operation.APPEND


@pytest.mark.parametrize(
    ("operations", "joined", "expected"),
    [
        pytest.param([], True, HeaderChanges(), id="none"),
        pytest.param([(REPLACE, "1")], True, HeaderChanges(set=(("x", "1"),)), id="replace"),
        pytest.param([(REMOVE, "")], True, HeaderChanges(remove=("x",)), id="remove"),
        pytest.param([(APPEND, "1")], True, HeaderChanges(append=(("x", "1"),)), id="append"),
        pytest.param(
            [(REPLACE, "1"), (REPLACE, "2")], True, HeaderChanges(set=(("x", "2"),)), id="last-wins"
        ),
        pytest.param(
            [(REPLACE, "1"), (APPEND, "2")], True, HeaderChanges(set=(("x", "1,2"),)),
            id="joined-to-a-new-value",
        ),
        pytest.param(
            [(REPLACE, "1"), (APPEND, "2")], False,
            HeaderChanges(set=(("x", "1"),), append=(("x", "2"),)), id="apart-from-a-new-value",
        ),
        pytest.param(
            [(APPEND, "1"), (APPEND, "2")], True, HeaderChanges(append=(("x", "1,2"),)),
            id="joined-appends",
        ),
        pytest.param(
            [(APPEND, "1"), (APPEND, "2")], False,
            HeaderChanges(append=(("x", "1"), ("x", "2"))), id="appends-apart",
        ),
        pytest.param(
            [(APPEND, "1"), (REMOVE, "")], True, HeaderChanges(remove=("x",)), id="removed-again"
        ),
        pytest.param(
            [(REMOVE, ""), (APPEND, "1")], True, HeaderChanges(set=(("x", "1"),)),
            id="only-the-new-value",
        ),
    ],
)  # fmt: skip
def test_one_header(operations, joined, expected) -> None:
    given = [HeaderOperation("X", value, how) for how, value in operations]
    assert collapsed(given, joined=joined) == expected
    assert bool(expected) is bool(operations)


@pytest.mark.parametrize("name", [":path", ":authority", "Host"])
def test_what_envoy_cannot_remove(name) -> None:
    assert not collapsed([HeaderOperation(name, "", REMOVE)], joined=True)
    assert collapsed([HeaderOperation(name, "1", REPLACE)], joined=True)


operations = st.lists(
    st.builds(
        HeaderOperation,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(list(Operation)),
    )
)


@given(operations, st.dictionaries(st.sampled_from(["a", "b"]), st.just("0")))
def test_the_outcome_is_that_of_one_operation_after_the_other(
    given_operations: list[HeaderOperation], headers: dict[str, str]
) -> None:
    expected = dict(headers)
    for each in given_operations:
        if each.operation is REPLACE:
            expected[each.name] = each.value
        elif each.operation is REMOVE:
            expected.pop(each.name, None)
        else:
            before = expected.get(each.name)
            expected[each.name] = f"{before},{each.value}" if before else each.value

    changes = collapsed(given_operations, joined=True)
    found = {**headers, **dict(changes.set)}
    for name, value in changes.append:
        found[name] = f"{found[name]},{value}" if name in found else value
    for name in changes.remove:
        found.pop(name, None)

    assert found == expected
