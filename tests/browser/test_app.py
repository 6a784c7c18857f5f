"""The app as people use it: its real routes in a host, the emulator and the simulator behind them, a browser before."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from local.azurite import Azurite
from local.host import FunctionsHost
from local.simulator import Fault, Gate, Simulator
from tests.browser.conftest import ROOT

Open = Callable[..., Page]

SECONDS = 60
"""Far longer than anything here takes; only a failing test waits so long."""
_DAYS = (datetime.now(UTC).date() - timedelta(days=n) for n in itertools.count(60, -2))
"""For each test two days that no other one uses, the later ones for the later tests."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One project for all tests here."""
    with Simulator(events_per_hour=20) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def host(azurite: Azurite, simulator: Simulator) -> Iterator[FunctionsHost]:
    """One app for all tests here."""
    environ = {
        "AMP_API_KEY": simulator.keys[0],
        "AMP_SECRET_KEY": simulator.keys[1],
        "AMP_EXPORT_URL": simulator.url,
        "EXPORT_STORAGE": azurite.connection_string,
        "EXPORT_CONTAINER": f"test-{uuid.uuid4().hex}",
        "EXPORT_PREFIX": "shop/it's [a] <b>100% #1/",
        "EXPORT_QUEUE": f"q-{uuid.uuid4().hex[:20]}",
        "EXPORT_RETRY_SECONDS": "0.01",
        "EXPORT_LOOKBACK_DAYS": "0",
    }
    with FunctionsHost(app_dir=ROOT, connection_string=azurite.connection_string, environ=environ) as host:
        yield host


@pytest.fixture
def day() -> date:
    """A day that no other test uses, nor the day after it."""
    return next(_DAYS)


@pytest.fixture
def gate(simulator: Simulator) -> Iterator[Gate]:
    """Where the next answer of Amplitude waits; it is open after the test, whatever became of that."""
    gate = Gate()
    simulator.fail(Fault(pause=gate))
    yield gate
    gate.open()


@pytest.fixture
def page(open_page: Open, host: FunctionsHost, day: date) -> Page:
    """The coverage page of the day, opened with the key in its address."""
    page: Page = open_page(f"{host.url}/api/exports?from={day}&to={day}&code={host.key}")
    page.set_default_timeout(SECONDS * 1000)
    return page


def opened(page: Page, day: date) -> Locator:
    """Open a day of the calendar."""
    page.locator(f"a.day[href='#d-{day}']").click()
    section = page.locator(f"#d-{day}")
    expect(section).to_be_visible()
    return section


def run_to(page: Page, day: date, section: Locator, button: str, outcome: str) -> None:
    """Press a button of a day, and wait until its run has ended and the page has been drawn again."""
    section.get_by_role("button", name=button).click()
    expect(page.locator(f"#live-{day}")).to_contain_text(outcome)
    expect(section.locator("button[aria-disabled=true]")).to_have_count(0)


def landed(host: FunctionsHost, day: date) -> dict[str, object]:
    answer = requests.get(f"{host.url}/api/exports/{day}", headers=host.auth, timeout=SECONDS)
    manifest: dict[str, object] = answer.json()["manifest"]
    return manifest


def test_a_missing_day_is_exported_from_the_page_and_shown_as_complete(
    page: Page, host: FunctionsHost, day: date, gate: Gate
) -> None:
    section = opened(page, day)
    section.get_by_role("button", name="Export this day").click()
    live = page.locator(f"#live-{day}")
    expect(live).to_contain_text("running")
    expect(live.get_by_role("progressbar")).to_be_visible()
    expect(section.get_by_role("button", name="Export this day")).to_be_disabled()
    gate.open()
    expect(live).to_contain_text("complete")
    expect(page.get_by_role("heading", level=1)).to_have_text("The day has landed")
    expect(page.locator(f"a.day[href='#d-{day}']")).to_have_class(re.compile("s-complete"))
    expect(section).to_be_visible()
    expect(section.get_by_role("listitem")).to_have_count(24)
    expect(section.get_by_role("button", name="Run again")).to_be_focused()

    section.get_by_role("link", name="Files, checksums, requests").click()
    manifest = landed(host, day)
    files = manifest["files"]
    assert isinstance(files, list)
    expect(page.locator("table.files tbody tr")).to_have_count(len(files))
    for file in files:
        expect(page.locator("table.files")).to_contain_text(file["sha256"])
    page.get_by_role("link", name=re.compile("All of")).click()
    expect(page.locator(f"#d-{day}")).to_be_visible()


def test_fewer_events_take_a_days_place_only_after_a_question_that_names_the_numbers(
    page: Page, host: FunctionsHost, simulator: Simulator, day: date
) -> None:
    section = opened(page, day)
    run_to(page, day, section, "Export this day", "complete")
    before = landed(host, day)
    simulator.forget(day, hour=7)
    run_to(page, day, section, "Run again", "FewerEvents")
    expect(section).to_contain_text("latest run failed")
    expect(section).to_contain_text("What to do:")
    had = sum(len(raw.splitlines()) for raw in simulator.member_bytes(day).values())
    totals = before["totals"]
    assert isinstance(totals, dict)

    asked = len(simulator.requests)
    section.get_by_role("button", name="Replace …").click()
    dialog = page.get_by_role("dialog", name="Replace the landed day?")
    expect(dialog).to_contain_text(f"{totals['events']:,} events have landed. The export has {had:,}.")
    keep = dialog.get_by_role("button", name=f"Keep the {totals['events']:,} events")
    expect(keep).to_be_focused()  # Enter alone changes nothing
    keep.click()
    expect(dialog).to_be_hidden()
    assert len(simulator.requests) == asked
    assert landed(host, day) == before

    section.get_by_role("button", name="Replace …").click()
    dialog.get_by_role("button", name=f"Replace {totals['events']:,} events with {had:,}").click()
    expect(page.locator(f"#live-{day}")).to_contain_text(f"complete, {had:,} events in 23 files")
    expect(section).to_contain_text("no events in hour 7.")
    expect(section.get_by_role("button", name="Replace …")).to_have_count(0)


def test_a_run_that_somebody_else_started_is_followed_through_lost_answers(
    page: Page, open_page: Open, host: FunctionsHost, day: date, gate: Gate
) -> None:
    requests.post(f"{host.url}/api/exports/{day}", headers=host.auth, timeout=SECONDS).raise_for_status()
    gate.wait_until_reached(SECONDS)
    section = opened(page, day)  # drawn before: it still offers to export the day, and is told that somebody does
    section.get_by_role("button", name="Export this day").click()
    expect(page.locator(f"#live-{day}")).to_contain_text("running")

    other = open_page(f"{host.url}/api/exports/{day}?code={host.key}")
    live = other.locator(f"#live-{day}")
    expect(live).to_contain_text("running")  # without a click
    lost = [True, True]
    other.route(re.compile("/api/exports/"), lambda route: route.abort() if lost and lost.pop() else route.continue_())
    expect(live).to_contain_text("no answer, trying again")
    gate.open()
    expect(live).to_contain_text("complete")
    expect(other.get_by_role("heading", name="Files")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("The day has landed")


def test_a_run_that_is_refused_says_why(page: Page, host: FunctionsHost, day: date) -> None:
    section = opened(page, day)
    expect(section.get_by_role("button", name="Export this day")).to_be_visible()
    page.evaluate(
        "() => { for (const b of document.querySelectorAll('[data-do]')) b.dataset.url = 'exports/2999-01-01'; }"
    )
    section.get_by_role("button", name="Export this day").click()
    expect(page.locator(f"#live-{day}")).to_contain_text("not started: 2999-01-01 is in the future")
    assert landed_nothing(host, day)
    page.get_by_role("button", name="Show").click()  # the script takes the key along
    page.wait_for_url(lambda url: "from=" in url)
    assert "code=" not in page.url


def test_a_range_is_exported_in_one_go_and_what_waits_can_be_withdrawn(page: Page, day: date, gate: Gate) -> None:
    page.get_by_label("From").fill(str(day))
    page.get_by_label("to", exact=True).fill(str(day + timedelta(days=1)))
    page.get_by_role("button", name="Show").click()
    page.get_by_role("button", name="Export these 2 days").click()
    gate.wait_until_reached(SECONDS)
    page.get_by_role("button", name="Withdraw this day").click()
    expect(page.get_by_text("1 withdrawn")).to_be_visible()
    gate.open()
    expect(page.get_by_text("1 of 2 landed")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 of 2 days have landed")

    page.get_by_role("link", name=re.compile(f"{day.day} .*: complete")).click()
    page.get_by_role("link", name="Files, checksums, requests").and_(page.locator(":visible")).click()
    for kind, name in (("Manifest", f"manifest-{day}.json"), ("Log", f"log-{day}.csv")):
        with page.expect_download() as saved:
            page.get_by_role("link", name=kind).click()
        assert saved.value.suggested_filename == name
    missing = (day + timedelta(days=1)).strftime("%-d %B %Y")
    page.get_by_role("link", name=missing).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(missing)
    expect(page.get_by_role("button", name="Export this day")).to_be_visible()


def landed_nothing(host: FunctionsHost, day: date) -> bool:
    return requests.get(f"{host.url}/api/exports/{day}", headers=host.auth, timeout=SECONDS).status_code == 404


def test_no_answer_holds_the_key(host: FunctionsHost, page: Page, day: date) -> None:
    section = opened(page, day)
    run_to(page, day, section, "Export this day", "complete")
    for path in ("exports", f"exports/{day}"):
        for accept in ("text/html", "application/json"):
            url = f"{host.url}/api/{path}?code={host.key}"
            answer = requests.get(url, headers={"Accept": accept}, timeout=SECONDS)
            assert answer.status_code == 200
            assert host.key not in answer.text + str(answer.headers)
    assert host.key not in host.output().replace(f'"key": "{host.key}"', "")


def test_with_scripts_off_the_real_page_can_be_read(open_page: Open, host: FunctionsHost) -> None:
    first = next(_DAYS) - timedelta(days=100)
    url = f"{host.url}/api/exports?from={first}&to={first}&code={host.key}"
    page = open_page(url, java_script_enabled=False)
    expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile("No day of this range|Nothing"))
    expect(opened(page, first)).to_contain_text("Neither this day nor an earlier one was ever requested")
    expect(page.get_by_text("Scripts are off")).to_be_visible()
