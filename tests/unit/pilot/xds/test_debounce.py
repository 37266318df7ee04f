"""Pushes come soon after changes end, and not too late if they do not (pilot.md B20)."""

from datetime import timedelta

import pytest

from mast.pilot.core.xds.debounce import Debounce


def ms(number: float) -> timedelta:
    return timedelta(milliseconds=number)


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        pytest.param([], None, id="nothing-changed"),
        pytest.param([0], 100, id="one-change-waits-for-quiet"),
        pytest.param([0, 50, 120], 220, id="each-change-prolongs"),
        pytest.param(range(0, 12_000, 90), 10_000, id="but-not-for-ever"),
        pytest.param(["0!"], 10, id="urgent"),
        pytest.param([0, "50!"], 60, id="urgent-shortens"),
        pytest.param([0, "95!"], 100, id="urgent-does-not-delay"),
        pytest.param(["0!", 5], 10, id="urgent-is-not-prolonged"),
        pytest.param(["0!", "5!"], 10, id="urgent-is-not-prolonged-by-urgent"),
    ],
)
def test_due(changes, due):
    debounce = Debounce()
    for each in changes:
        at, urgent = (float(each[:-1]), True) if isinstance(each, str) else (each, False)
        debounce.changed(ms(at), urgent=urgent)
    assert debounce.due == (None if due is None else ms(due))


def test_a_push_counts_from_the_first_change():
    debounce = Debounce()
    debounce.changed(ms(7))
    debounce.changed(ms(50))
    assert debounce.push(ms(150)) == ms(7)
    assert debounce.due is None
    assert debounce.push(ms(150)) is None


def test_changes_after_a_push_count_anew():
    debounce = Debounce()
    debounce.changed(ms(0))
    debounce.push(ms(100))
    debounce.changed(ms(300))
    assert debounce.due == ms(400)
    assert debounce.push(ms(400)) == ms(300)


def test_a_change_at_the_start_of_the_clock_counts():
    debounce = Debounce(quiet=ms(0))
    debounce.changed(ms(0))
    assert debounce.due == ms(0)


def test_urgent_changes_wait_if_there_was_a_push_just_now():
    debounce = Debounce()
    debounce.changed(ms(0), urgent=True)
    debounce.push(ms(10))
    debounce.changed(ms(20), urgent=True)
    for at in range(21, 119):
        debounce.changed(ms(at))
    assert debounce.due == ms(120)


@pytest.mark.parametrize("urgent", [True, False])
def test_a_thousand_events_in_five_seconds_are_few_pushes(urgent):
    """Checklist 10: at most 50 pushes."""
    debounce, pushes = Debounce(), 0
    for at in range(0, 5_000, 5):
        if debounce.due is not None and debounce.due <= ms(at):
            debounce.push(ms(at))
            pushes += 1
        debounce.changed(ms(at), urgent=urgent)
    assert pushes == (46 if urgent else 0)
