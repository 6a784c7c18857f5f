"""The landing protocol, searched through: no promise breaks with its rules, and one does without any of them.

To see the shortest way to break a promise without each rule: `python -m tests.faults.test_model`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.model import Rule, Scenario
from tests.faults.model_search import PROMISES, READER, Promise, search

DOCS = Path(__file__).parents[2] / "docs" / "protocol.md"

ONE_TRY = Scenario(("a",), "landed", faults=1)
TWO_TRIES = Scenario(("a", "b"), "landed", faults=1)
SWEEP = Scenario(("sweep", "a"), "landed", faults=1)
EXPIRY = Scenario(("expiry", "a"), "landed", faults=1)

HELD = {
    "two tries, nothing there": Scenario(("a", "b"), "empty", faults=1, files=("y",)),
    "two tries, a landed day": TWO_TRIES,
    "a try, a landed day, two faults": Scenario(("a",), "landed", faults=2),
    "two tries, a clock of whole seconds": Scenario(("a", "b"), "landed", faults=0, ticks=(0, 1)),
    "two tries, a landed file gone": Scenario(("a", "b"), "damaged", faults=0),
    "two tries, files of a day that expired": Scenario(("a", "b"), "leftovers", faults=0),
    "a sweep and a try": SWEEP,
    "a sweep and two tries": Scenario(("sweep", "a", "b"), "landed", faults=0),
    "an expiry and a try": EXPIRY,
    "an expiry that another night began": Scenario(("expiry", "a"), "leftovers", faults=1),
    "an expiry and two tries": Scenario(("expiry", "a", "b"), "landed", faults=0, files=("y",), sees=(2,)),
    "a sweep, an expiry and a try": Scenario(("sweep", "expiry", "a"), "landed", faults=0, files=("y",)),
}

SOAKED = {
    "two tries, a landed day, two faults": Scenario(("a", "b"), "landed", faults=2),
    "two tries, nothing there": Scenario(("a", "b"), "empty", faults=2),
    "two tries, a clock of whole seconds": Scenario(("a", "b"), "landed", faults=2, ticks=(0, 1)),
    "three tries, two files": Scenario(("a", "b", "c"), "landed", faults=0),
    "three tries, nothing there": Scenario(("a", "b", "c"), "empty", faults=0, files=("y",)),
    "an expiry and two tries": Scenario(("expiry", "a", "b"), "landed", faults=0, files=("y",)),
    "a sweep, an expiry and two tries": Scenario(("sweep", "expiry", "a", "b"), "landed", faults=0, files=("y",)),
}

NEEDED: dict[Rule, tuple[Scenario, tuple[Promise, ...]]] = {
    Rule.FILES_FIRST: (ONE_TRY, READER),
    Rule.UNIQUE_NAMES: (ONE_TRY, READER),
    Rule.KEEP_LANDED: (TWO_TRIES, READER),
    Rule.KEEP_PRESENT: (Scenario(("a",), "damaged", faults=0), READER),
    Rule.FEWER_EVENTS: (TWO_TRIES, READER),
    Rule.CONDITION: (TWO_TRIES, READER),
    Rule.CONDITION_READ: (TWO_TRIES, READER),
    Rule.LOOK: (ONE_TRY, PROMISES),
    Rule.LOOK_TRY: (TWO_TRIES, READER),
    Rule.NO_UNDO: (ONE_TRY, READER),
    Rule.UNDO: (ONE_TRY, PROMISES),
    Rule.UNDO_REFUSED: (Scenario(("a", "b"), "landed", faults=0), PROMISES),
    Rule.UNDO_UNLISTED: (HELD["two tries, nothing there"], READER),
    Rule.DELETE_LAST: (ONE_TRY, READER),
    Rule.DELETE_REPLACED: (Scenario(("a",), "empty", faults=0), PROMISES),
    Rule.REPLACED_READ: (TWO_TRIES, READER),
    Rule.DELETE_LEFTOVERS: (ONE_TRY, PROMISES),
    Rule.OLDER: (TWO_TRIES, READER),
    Rule.STRICTLY_OLDER: (Scenario(("a", "b"), "landed", faults=0, ticks=(0, 1)), READER),
    Rule.SWEEP_AGE: (SWEEP, READER),
    Rule.SWEEP_UNLISTED: (SWEEP, READER),
    Rule.EXPIRY_MANIFEST_FIRST: (EXPIRY, READER),
    Rule.EXPIRY_READS_FIRST: (EXPIRY, READER),
    Rule.EXPIRY_CONDITION: (EXPIRY, READER),
    Rule.EXPIRY_OLDER: (EXPIRY, READER),
    Rule.EXPIRY_WAITS: (EXPIRY, READER),
    Rule.LOCK: (EXPIRY, READER),
    Rule.STATUS_LEASE: (TWO_TRIES, PROMISES),
    Rule.STATUS_ORDER: (ONE_TRY, PROMISES),
}
"""Each rule, and where to look for what breaks without it."""


@pytest.mark.parametrize("scenario", HELD.values(), ids=HELD)
def test_no_promise_breaks_while_every_rule_holds(scenario: Scenario) -> None:
    found = search(scenario)
    assert not found.broken, found


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SOAKED.values(), ids=SOAKED)
def test_no_promise_breaks_in_a_longer_search(scenario: Scenario) -> None:
    found = search(scenario)
    assert not found.broken, found


@pytest.mark.parametrize("rule", NEEDED, ids=lambda rule: rule.name)
def test_a_promise_breaks_without_each_rule(rule: Rule) -> None:
    scenario, promises = NEEDED[rule]
    found = search(without(scenario, rule), promises)
    assert found.broken, found
    assert scenario in HELD.values() or not search(scenario, promises).broken


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(replace(TWO_TRIES, faults=0), id="two tries"),
        pytest.param(replace(TWO_TRIES, files=("y",)), id="two tries, a fault", marks=pytest.mark.soak),
        pytest.param(SWEEP, id="a sweep and a try"),
    ],
)
def test_readers_of_a_day_that_does_not_expire_are_safe_even_without_the_lock(scenario: Scenario) -> None:
    found = search(without(scenario, Rule.LOCK, Rule.STATUS_ORDER), READER)
    assert not found.broken, found


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(ONE_TRY, id="a try"),
        pytest.param(TWO_TRIES, id="two tries", marks=pytest.mark.soak),
        pytest.param(SWEEP, id="a sweep and a try"),
        pytest.param(replace(EXPIRY, files=("y",)), id="an expiry"),
    ],
)
def test_writing_once_is_a_belt_beside_the_unique_names(scenario: Scenario) -> None:
    found = search(without(scenario, Rule.WRITE_ONCE))
    assert not found.broken, found


def test_every_rule_is_examined_and_described() -> None:
    assert {*NEEDED, Rule.WRITE_ONCE} == {*Rule}
    text = DOCS.read_text(encoding="utf-8")
    assert [rule.name for rule in Rule if f"`{rule.name}`" not in text] == []


def without(scenario: Scenario, *rules: Rule) -> Scenario:
    return replace(scenario, broken=frozenset(rules))


if __name__ == "__main__":
    for needed, (where, checked) in NEEDED.items():
        sys.stdout.write(f"{needed.name}: without the rule that {needed.value}\n")
        sys.stdout.write(f"{search(without(where, needed), checked)}\n\n")
