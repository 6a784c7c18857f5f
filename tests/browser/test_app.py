"""The app as people use it: its real routes in a host, the emulator and the simulator behind them, a browser before."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from local.host import FunctionsHost
from local.simulator import Fault, Gate, Simulator

Open = Callable[..., Page]

DAY = datetime.now(UTC).date() - timedelta(days=5)
ONE_LANDED = re.compile("1 of [45] days have landed")
"""Days before the first that was ever asked for do not count."""
SECONDS = 60
"""Far longer than anything here takes; only a failing test waits so long."""


@pytest.fixture
def page(open_page: Open, host: FunctionsHost) -> Page:
    """The coverage page, opened with the key in its address."""
    page: Page = open_page(f"{host.url}/api/exports?code={host.key}")
    page.set_default_timeout(SECONDS * 1000)
    return page


def opened(page: Page, day: date = DAY) -> Locator:
    """Open a day of the calendar."""
    page.locator(f"a.day[href='#d-{day}']").click()
    section = page.locator(f"#d-{day}")
    expect(section).to_be_visible()
    return section


def run_to(page: Page, section: Locator, button: str, outcome: str) -> None:
    """Press a button of a day, and wait until its run has ended and the page has been drawn anew."""
    section.get_by_role("button", name=button).click()
    expect(page.locator(f"#live-{DAY}")).to_contain_text(outcome, timeout=SECONDS * 1000)
    expect(section.locator("button[aria-disabled=true]")).to_have_count(0, timeout=SECONDS * 1000)


def landed(host: FunctionsHost, day: date = DAY) -> dict[str, object]:
    answer = requests.get(f"{host.url}/api/exports/{day}", headers=host.auth, timeout=SECONDS)
    manifest: dict[str, object] = answer.json()["manifest"]
    return manifest


def test_a_missing_day_is_exported_from_the_page_and_shown_as_complete(
    page: Page, host: FunctionsHost, simulator: Simulator
) -> None:
    gate = Gate()
    simulator.fail(Fault(pause=gate))
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing has been exported yet")
    section = opened(page)
    expect(section).to_contain_text("Nobody has ever asked for this day")
    section.get_by_role("button", name="Export this day").click()
    live = page.locator(f"#live-{DAY}")
    expect(live).to_contain_text("running")
    expect(live.get_by_role("progressbar")).to_be_visible()
    expect(section.get_by_role("button", name="Export this day")).to_be_disabled()
    gate.open()
    expect(live).to_contain_text("complete", timeout=SECONDS * 1000)
    expect(page.get_by_role("heading", level=1)).to_have_text(ONE_LANDED)
    expect(page.locator(f"a.day[href='#d-{DAY}']")).to_have_class(re.compile("s-complete"))
    expect(section).to_be_visible()
    expect(section.get_by_role("listitem")).to_have_count(24)
    expect(section.get_by_role("button", name="Run again")).to_be_focused()

    section.get_by_role("link", name="Files, checksums, requests").click()
    manifest = landed(host)
    files = manifest["files"]
    assert isinstance(files, list)
    expect(page.locator("table.files tbody tr")).to_have_count(len(files))
    for file in files:
        expect(page.locator("table.files")).to_contain_text(file["sha256"])
    page.get_by_role("link", name=re.compile("All of")).click()
    expect(page.locator(f"#d-{DAY}")).to_be_visible()


def test_fewer_events_take_a_days_place_only_after_a_question_that_names_the_numbers(
    page: Page, host: FunctionsHost, simulator: Simulator
) -> None:
    section = opened(page)
    run_to(page, section, "Export this day", "complete")
    before = landed(host)
    simulator.forget(DAY, hour=7)
    run_to(page, section, "Run again", "FewerEvents")
    expect(section).to_contain_text("latest run failed")
    expect(section).to_contain_text("What to do:")
    had = sum(len(raw.splitlines()) for raw in simulator.member_bytes(DAY).values())
    totals = before["totals"]
    assert isinstance(totals, dict)

    asked = len(simulator.requests)
    section.get_by_role("button", name="Replace …").click()
    dialog = page.get_by_role("dialog", name="Replace the landed day?")
    expect(dialog).to_contain_text(f"{totals['events']:,} events have landed, the export holds {had:,}.")
    keep = dialog.get_by_role("button", name=f"Keep the {totals['events']:,} events")
    expect(keep).to_be_focused()  # Enter alone changes nothing
    keep.click()
    expect(dialog).to_be_hidden()
    assert len(simulator.requests) == asked
    assert landed(host) == before

    section.get_by_role("button", name="Replace …").click()
    dialog.get_by_role("button", name=f"Replace {totals['events']:,} events with {had:,}").click()
    expect(page.locator(f"#live-{DAY}")).to_contain_text(f"complete, {had:,} events in 23 files")
    expect(section).to_contain_text("no events in hour 7.")
    expect(section.get_by_role("button", name="Replace …")).to_have_count(0)


def test_a_run_that_somebody_else_started_is_followed_through_lost_answers(
    page: Page, open_page: Open, host: FunctionsHost, simulator: Simulator
) -> None:
    gate = Gate()
    simulator.fail(Fault(pause=gate))
    requests.post(f"{host.url}/api/exports/{DAY}", headers=host.auth, timeout=SECONDS).raise_for_status()
    gate.wait_until_reached(SECONDS)
    section = opened(page)  # drawn before: it still offers to export the day, and is told that somebody does
    section.get_by_role("button", name="Export this day").click()
    expect(page.locator(f"#live-{DAY}")).to_contain_text("running")

    day = open_page(f"{host.url}/api/exports/{DAY}?code={host.key}")
    live = day.locator(f"#live-{DAY}")
    expect(live).to_contain_text("running")  # without a click
    lost = [True, True]
    day.route(re.compile("/api/exports/"), lambda route: route.abort() if lost and lost.pop() else route.continue_())
    expect(live).to_contain_text("no answer just now", timeout=SECONDS * 1000)
    gate.open()
    expect(live).to_contain_text("complete", timeout=SECONDS * 1000)
    expect(day.get_by_role("heading", name="Files")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text(ONE_LANDED, timeout=SECONDS * 1000)


def test_a_run_that_is_refused_says_why(page: Page, host: FunctionsHost) -> None:
    section = opened(page)
    expect(section.get_by_role("button", name="Export this day")).to_be_visible()
    page.evaluate(
        "() => { for (const b of document.querySelectorAll('[data-do]')) b.dataset.url = 'exports/2999-01-01'; }"
    )
    section.get_by_role("button", name="Export this day").click()
    expect(page.locator(f"#live-{DAY}")).to_contain_text("not started: 2999-01-01 is in the future")
    assert landed_nothing(host)
    page.get_by_role("button", name="Show").click()  # the script takes the key along
    page.wait_for_url(lambda url: "from=" in url)
    assert "code=" not in page.url


def test_a_range_is_exported_in_one_go_and_what_waits_can_be_withdrawn(page: Page, simulator: Simulator) -> None:
    gate = Gate()
    simulator.fail(Fault(pause=gate))
    page.get_by_label("From").fill(str(DAY))
    page.get_by_label("to", exact=True).fill(str(DAY + timedelta(days=1)))
    page.get_by_role("button", name="Show").click()
    page.get_by_role("button", name="Export these 2 days").click()
    gate.wait_until_reached(SECONDS)
    page.get_by_role("button", name="Withdraw this day").click()
    expect(page.get_by_text("1 withdrawn")).to_be_visible()
    gate.open()
    expect(page.get_by_text("1 of 2 landed")).to_be_visible(timeout=SECONDS * 1000)
    expect(page.get_by_role("heading", level=1)).to_have_text("1 of 2 days have landed")

    page.get_by_role("link", name=re.compile(f"{DAY.day} .*: complete")).click()
    page.get_by_role("link", name="Files, checksums, requests").and_(page.locator(":visible")).click()
    for kind, name in (("Manifest", f"manifest-{DAY}.json"), ("Log", f"log-{DAY}.csv")):
        with page.expect_download() as saved:
            page.get_by_role("link", name=kind).click()
        assert saved.value.suggested_filename == name
    missing = (DAY + timedelta(days=1)).strftime("%-d %B %Y")
    page.get_by_role("link", name=missing).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(missing)
    expect(page.get_by_role("button", name="Export this day")).to_be_visible()


def landed_nothing(host: FunctionsHost) -> bool:
    return requests.get(f"{host.url}/api/exports/{DAY}", headers=host.auth, timeout=SECONDS).status_code == 404


def test_no_answer_holds_the_key(host: FunctionsHost, page: Page) -> None:
    section = opened(page)
    run_to(page, section, "Export this day", "complete")
    for path in ("exports", f"exports/{DAY}"):
        for accept in ("text/html", "application/json"):
            url = f"{host.url}/api/{path}?code={host.key}"
            answer = requests.get(url, headers={"Accept": accept}, timeout=SECONDS)
            assert answer.status_code == 200
            assert host.key not in answer.text + str(answer.headers)
    assert host.key not in host.output().replace(f'"key": "{host.key}"', "")


def test_with_scripts_off_the_real_page_can_be_read(open_page: Open, host: FunctionsHost) -> None:
    page = open_page(f"{host.url}/api/exports?code={host.key}", java_script_enabled=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing has been exported yet")
    expect(opened(page)).to_contain_text("Nobody has ever asked for this day")
    expect(page.get_by_text("Scripts are off")).to_be_visible()
