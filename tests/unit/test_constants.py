"""Times that depend on each other: each is right alone, and the protocol breaks where their order does."""

import json
from datetime import timedelta
from pathlib import Path

from shared.amplitude import LONGEST_ANSWER
from shared.days.day import COMES_BACK_WITHIN
from shared.export.fetch import LONGEST_FETCH
from shared.export.publish import LONGEST_TRY
from shared.runs.lock import LEASE_SECONDS, PROGRESS_SECONDS, RENEW_SECONDS, WAIT_SECONDS
from shared.runs.nightly import LONGER_THAN_ANY_TRY, TIDYING_SECONDS

ROOT = Path(__file__).parents[2]
SHORTEST_LEASE, LONGEST_LEASE = 15, 60
"""Seconds that Azure Storage allows."""


def test_a_lease_outlives_a_renewal_that_fails() -> None:
    """The next beat after a failed one still comes in time."""
    assert SHORTEST_LEASE <= LEASE_SECONDS <= LONGEST_LEASE
    assert PROGRESS_SECONDS < RENEW_SECONDS
    assert 2 * (RENEW_SECONDS + PROGRESS_SECONDS) < LEASE_SECONDS


def test_a_lock_is_waited_for_longer_than_any_lease_lasts() -> None:
    """What is locked even then is alive, so that a dead run's day is not dropped."""
    assert WAIT_SECONDS > LONGEST_LEASE


def test_no_try_is_as_old_as_what_is_swept() -> None:
    """A try that puts its manifest later would list blobs that the sweep has taken."""
    assert LONGER_THAN_ANY_TRY - timedelta(hours=2) >= LONGEST_TRY


def test_the_host_ends_a_function_before_a_try_is_too_old_and_after_a_night_is_tidied() -> None:
    hours, minutes, seconds = map(int, json.loads((ROOT / "host.json").read_text())["functionTimeout"].split(":"))
    limit = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    assert timedelta(seconds=TIDYING_SECONDS) * 2 < limit < LONGEST_TRY


def test_a_try_whose_last_request_is_slow_still_puts_its_manifest() -> None:
    assert timedelta(seconds=LONGEST_FETCH + LONGEST_ANSWER) < LONGEST_TRY


def test_a_dead_run_is_expected_for_as_long_as_the_host_may_hide_its_message() -> None:
    """Ten minutes, and the status is up to a renewal older than the death."""
    assert timedelta(minutes=10, seconds=RENEW_SECONDS) < COMES_BACK_WITHIN
