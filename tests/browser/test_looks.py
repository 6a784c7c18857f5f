"""The pages as rendered samples in a real Chromium: readable, reachable, on any width, and harmless."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from shared.days.calendar import Calendar
from shared.days.day import Day
from shared.days.state import RunState, State
from shared.days.status import RunStatus
from shared.web.pages import coverage_page, day_page, problem_page
from tests.browser.conftest import KEPT, Rendered
from tests.unit.sample_days import (
    FIRST,
    HOSTILE,
    LAST,
    NOW,
    answer,
    fewer,
    hostile_answer,
    hostile_days,
    known,
    landed,
    month,
)

Open = Callable[..., Page]
Serve = Callable[[Rendered], str]

SATURDAY, TUESDAY, WEDNESDAY = date(2025, 11, 15), date(2025, 11, 18), date(2025, 11, 19)
PHONE: dict[str, object] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
NARROW = PHONE | {"viewport": {"width": 320, "height": 844}}
ERROR = fewer(SATURDAY, 362241, 198256)
FAILED = answer(SATURDAY, run="failed", run_id="4f0a9c1be7d24b6f8a3d5c2e9b7f1a06", error=ERROR)

PAGES: dict[str, Callable[[], Rendered]] = {
    "month": lambda: coverage_page(Calendar(month(), FIRST, LAST, NOW)),
    "day": lambda: day_page(FAILED, NOW),
    "hostile-month": lambda: coverage_page(Calendar(hostile_days(), FIRST, LAST, NOW)),
    "hostile-day": lambda: day_page(hostile_answer(SATURDAY), NOW),
    "year": lambda: coverage_page(
        Calendar([landed(LAST - timedelta(days=n)) for n in range(364, 29, -1)] + month(), date(2024, 12, 1), LAST, NOW)
    ),
}

MANY = answer(SATURDAY).manifest
assert MANY
LISTED = replace(MANY.files[0], name=f"shop/eu {'x' * 90}/{MANY.files[0].name}")
CROWDED = replace(answer(SATURDAY), manifest=replace(MANY, files=(LISTED,) * 1_000))
UNDER_WAY = answer(
    SATURDAY, run="running", gone=True, progress={
        "hours_done": 7, "events": 223_110, "files": 7, "bytes": 394_235_370,
        "download_bytes": 38_138_320, "attempt": 2,
        "retry_at": "2025-11-16T03:33:00Z", "retry_reason": "AmplitudeUnavailable: Amplitude answered 503.",
    },
)  # fmt: skip
DEAD = RunStatus(LAST, RunState.RUNNING, "run", "timer", updated_at=NOW - timedelta(minutes=2))
ENDS = [
    *(known(FIRST + timedelta(days=n), "missing") for n in range(9)),
    *(replace(landed(FIRST + timedelta(days=n)), run=None) for n in range(9, 29)),
    Day.of(LAST, DEAD, leased=False, landed=None, otherwise=State.MISSING),
]
"""Days that nobody ever asked for, and one whose host died a moment ago."""
NOTHING = [known(FIRST + timedelta(days=n), "missing") for n in range(30)]
PAGES |= {
    "new": lambda: coverage_page(Calendar(NOTHING, FIRST, LAST, NOW, since=LAST)),
    "many-files": lambda: day_page(CROWDED, NOW, entra=True),
    "ends": lambda: coverage_page(Calendar(ENDS, FIRST, LAST, NOW, since=FIRST + timedelta(days=9)), entra=True),
    "running": lambda: day_page(UNDER_WAY, NOW),
    "problem": lambda: problem_page("Not found", f"{SATURDAY} was never exported.", SATURDAY, NOW, home="../exports"),
}


@cache
def rendered(name: str) -> Rendered:
    return PAGES[name]()


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LONG = ("year", "many-files")
"""Pages of the same parts as the others, only more of them."""
OPEN_ALL = "() => document.querySelectorAll('.open').forEach(day => { day.style.display = 'block'; })"

CONTRAST = """() => {
  const parts = (text) => [...text.matchAll(/rgba?\\(([^)]+)\\)/g)].map((m) => m[1].split(/[ ,/]+/).map(Number));
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const solid = ([, , , alpha = 1]) => alpha === 1;
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      const found = [...parts(style.backgroundImage), ...parts(style.backgroundColor)].filter(solid);
      if (found.length) return found;
    }
    return [[255, 255, 255]];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || ['SCRIPT', 'STYLE'].includes(element.tagName)) continue;
    const [ink] = parts(getComputedStyle(element).color);
    found.push([Math.min(...behind(element).map((paper) => ratio(ink, paper))), node.data.trim(), element.className]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""

NAMELESS = """() => [...document.querySelectorAll('a, button, input, table, section, dialog, [role], [tabindex]')]
  .filter((e) => {
    const labelled = (e.getAttribute('aria-labelledby') || '').split(' ').map((id) => document.getElementById(id));
    const name = e.getAttribute('aria-label') || labelled.map((l) => l?.textContent || '').join('')
      || e.labels?.[0]?.textContent || e.caption?.textContent || e.textContent;
    return e.checkVisibility() && !name.trim();
  }).map((e) => e.outerHTML)"""


CUT = """() => [
  ...[...document.querySelectorAll('main a, main button')].filter((e) => e.getBoundingClientRect().height < 24),
  ...[...document.querySelectorAll('input')].filter((e) => e.clientWidth < 130),
].filter((e) => e.checkVisibility()).map((e) => e.outerHTML)"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_and_used_at_any_width_in_both_schemes(
    open_page: Open, serve: Serve, picture: Callable[..., bytes], name: str
) -> None:
    """All text is told from its background, all that can be reached has a name and its size, nothing is cut."""
    page = open_page(serve(rendered(name)), **PHONE)
    for scheme, width in itertools.product(SCHEMES, (320, 768, 1280) if KEPT else ()):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 844})
        picture(page, f"{name}-{width}-{scheme}", full_page=name not in LONG)
    if name not in LONG:
        page.evaluate(OPEN_ALL)
    for width in (320, 768, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT) == []
    for scheme in SCHEMES if name not in LONG else ():
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate(CONTRAST)
        assert len(found) > 7
        assert [text for text in found if text[0] < 4.5] == []
    assert page.evaluate(NAMELESS) == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    referred = page.evaluate(
        "() => [...document.querySelectorAll('[aria-labelledby]')].map((e) => e.ariaLabelledByElements.length)"
    )
    assert all(referred)
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("name", ["hostile-month", "hostile-day"])
def test_hostile_text_runs_nothing_and_is_shown_as_it_is(open_page: Open, serve: Serve, name: str) -> None:
    page = open_page(serve(rendered(name)))  # a dialog, an error or a foreign request fails the test
    page.evaluate(OPEN_ALL)
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert page.get_by_text(HOSTILE[:25]).count() > 0
    for button in page.locator("button[data-do=replace]:visible").all():
        button.click()
        expect(page.locator("#ask")).to_be_visible()
        assert page.locator("#ask img, #ask script").count() == 0
        page.keyboard.press("Escape")
        expect(page.locator("#ask")).to_be_hidden()


@pytest.mark.parametrize("name", ["month", "day"])
def test_a_script_that_got_in_would_not_run(browser: Browser, serve: Serve, name: str) -> None:
    html, headers = rendered(name)
    planted = html.replace("</main>", "<script>document.title = 'taken over'</script></main>")
    assert planted != html
    with browser.new_context() as context:
        page = context.new_page()
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.goto(serve((planted, headers)))
        assert page.title() != "taken over"
        assert [text for text in told if "Content Security Policy" in text]
        page.goto(serve((planted, {})))  # without the policy it would have run
        assert page.title() == "taken over"


def test_without_scripts_the_calendar_and_its_days_can_be_read(open_page: Open, serve: Serve) -> None:
    page = open_page(serve(rendered("month")), java_script_enabled=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("21 of 27 days have landed")
    expect(page.get_by_text("Scripts are off")).to_be_visible()
    day = page.locator("#d-2025-11-15")
    expect(day).to_be_hidden()
    page.get_by_role("link", name="Saturday, 15 November 2025: complete, 373,311 events; latest run failed").click()
    expect(day).to_be_visible()
    expect(day.get_by_role("list", name="Events by hour (UTC)").get_by_role("listitem")).to_have_count(24)
    expect(day.get_by_text("What to do:")).to_be_visible()
    expect(page.locator("button[data-do]:visible")).to_have_count(0)  # they would do nothing
    day.get_by_role("link", name="Close this day").click()
    expect(day).to_be_hidden()


def test_the_keyboard_moves_from_day_to_day_and_opens_one(open_page: Open, serve: Serve) -> None:
    page = open_page(serve(rendered("month")))
    page.locator("a[href='#d-2025-11-03'].day").focus()
    for key, day in [("ArrowRight", 4), ("ArrowDown", 11), ("ArrowUp", 4), ("ArrowLeft", 3), ("ArrowLeft", 3)]:
        page.keyboard.press(key)
        assert page.evaluate("() => document.activeElement.hash") == f"#d-2025-11-{day:02d}"
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#d-2025-11-03")).to_be_visible()
    expect(page.locator("#d-2025-11-03")).to_be_focused()
    expect(page.locator("a.day[aria-current]")).to_have_attribute("href", "#d-2025-11-03")


def test_the_key_leaves_the_address_and_goes_along_in_a_header(open_page: Open, serve: Serve) -> None:
    """From then on no address has it: not the history's, nor that of any request; back and F5 work without it."""
    url = serve(rendered("month"))
    page = open_page(f"{url}?code=a%2Bkey%3D%3D#d-2025-11-15")
    assert page.url == f"{url}#d-2025-11-15"
    requested: list[tuple[str, str | None]] = []
    page.on("request", lambda request: requested.append((request.url, request.headers.get("x-functions-key"))))
    page.get_by_label("From").fill("2025-10-01")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/api/exports?from=2025-10-01&to=2025-11-30")
    page.get_by_role("link", name="90 days").click()
    page.wait_for_url("**/api/exports?from=2025-09-02&to=2025-11-30")
    with page.expect_response("**/api/exports?*"):
        page.go_back()
    page.wait_for_url("**/api/exports?from=2025-10-01&to=2025-11-30")
    with page.expect_response("**/api/exports?*"):
        page.keyboard.press("F5")
    assert len(requested) == 4
    assert {key for _, key in requested} == {"a+key=="}
    assert not [address for address, _ in requested if "key" in address]
    assert "a+key" not in page.content()


def test_an_address_with_a_last_slash_leads_to_the_same_places(open_page: Open, serve: Serve) -> None:
    url = serve(rendered("month"))
    page = open_page(f"{url}/?from=2025-11-01#d-2025-11-15")
    assert page.url == f"{url}?from=2025-11-01#d-2025-11-15"
    links = page.eval_on_selector_all("a.button[href^='exports/']", "links => links.map((link) => link.href)")
    assert f"{url}/2025-11-30" in links


PICTURES: list[tuple[str, str, str, dict[str, object]]] = [
    ("coverage-light", "month", "#d-2025-11-15", {"color_scheme": "light"}),
    ("coverage-dark", "month", "#d-2025-11-15", {"color_scheme": "dark"}),
    ("coverage-year", "year", "", {"color_scheme": "light"}),
    ("coverage-day", "day", "", {"color_scheme": "light", "viewport": {"width": 1280, "height": 1100}}),
    ("coverage-phone", "month", "", {"color_scheme": "light"} | PHONE),
    ("phone-open", "month", "#d-2025-11-15", {"color_scheme": "dark"} | NARROW),
    ("hostile-open", "hostile-month", "#d-2025-11-04", {"color_scheme": "light"} | NARROW),
    ("no-scripts", "month", "#d-2025-11-15", {"java_script_enabled": False} | NARROW),
]


@pytest.mark.parametrize("shown", PICTURES, ids=[shown[0] for shown in PICTURES])
def test_pictures(
    open_page: Open, serve: Serve, picture: Callable[..., bytes], shown: tuple[str, str, str, dict[str, object]]
) -> None:
    """Each picture shows something; UPDATE_SCREENSHOTS=1 keeps them, those that the docs show in docs/images."""
    file, name, fragment, options = shown
    page = open_page(serve(rendered(name)) + fragment, **options)
    assert len(picture(page, file, full_page=name == "month")) > 20_000


def running(**progress: object) -> dict[str, Any]:
    """What the app answers of a day that is being exported."""
    return Day(TUESDAY, State.RUNNING, RunStatus(TUESDAY, RunState.RUNNING, "r", "http", progress=progress)).document


def test_what_is_told_of_a_run(open_page: Open, serve: Serve, picture: Callable[..., bytes]) -> None:
    """Its rate, its next attempt and why; success goes by itself and an error stays; neither hides half a phone."""
    page = open_page(serve(rendered("month")), **NARROW)
    answers: list[Mapping[str, Any]] = [
        {},
        running(hours_done=7, events=4000, bytes=1_000_000),
        running(hours_done=9, events=5000, bytes=3_000_000, attempt=2),
        running(retry_at="2025-12-01T03:31:40Z", retry_reason="AmplitudeUnavailable: Amplitude answered 503."),
        answer(TUESDAY).document,
    ]
    page.route(
        f"**/{TUESDAY}", lambda route: route.fulfill(status=202 if len(answers) == 5 else 200, json=answers.pop(0))
    )
    detail = "At most 366 days may be queued at a time, and 366 are queued already. Ask for fewer, or wait. " * 4
    page.route(f"**/{WEDNESDAY}", lambda route: route.fulfill(status=429, json={"detail": detail}))
    page.clock.install(time=NOW)
    page.clock.pause_at(NOW + timedelta(seconds=1))

    page.locator(f"a.day[href='#d-{TUESDAY}']").click()
    page.locator(f"#run-{TUESDAY}").click()
    told = page.locator(f"#live-{TUESDAY}")
    expect(told).to_have_text(f"{TUESDAY}: running7 of 24 hours, 4,000 events, 1.0 MB")
    page.clock.run_for(1000)
    expect(told).to_have_text(f"{TUESDAY}: running9 of 24 hours, 5,000 events, 3.0 MB, 2.0 MB/s, attempt 2")
    page.clock.run_for(1000)
    expect(told).to_contain_text("next attempt at 03:31:40 UTC: AmplitudeUnavailable: Amplitude answered 503.")
    picture(page, "told-running")
    page.clock.run_for(2000)
    expect(told).to_contain_text("complete, 682,822 events in 22 files")

    page.locator(f"a.day[href='#d-{WEDNESDAY}']").click()
    page.locator(f"#run-{WEDNESDAY}").click()
    refused = page.locator(f"#live-{WEDNESDAY}")
    expect(refused).to_contain_text("not started: At most 366 days")
    picture(page, "told")
    box = page.locator("#live").bounding_box()
    assert box
    assert box["height"] < 844 / 2
    page.clock.run_for(8000)
    expect(told).to_have_count(0)
    page.clock.run_for(600_000)
    expect(refused).to_be_visible()
    refused.get_by_role("button", name="Close").click()
    expect(refused).to_have_count(0)
