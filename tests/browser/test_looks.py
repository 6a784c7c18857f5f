"""The pages as rendered samples in a real Chromium: readable, reachable, on any width, and harmless."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from shared.days.calendar import Calendar
from shared.web.pages import coverage_page, day_page, problem_page
from tests.browser.conftest import Rendered
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

SATURDAY = date(2025, 11, 15)
PHONE: dict[str, object] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
ERROR = fewer(SATURDAY, 362241, 198256)
FAILED = answer(
    SATURDAY,
    run="failed",
    run_id="4f0a9c1be7d24b6f8a3d5c2e9b7f1a06",
    error=ERROR,
)

PAGES: dict[str, Rendered] = {
    "month": coverage_page(Calendar(month(), FIRST, LAST, NOW)),
    "day": day_page(FAILED, NOW),
    "hostile-month": coverage_page(Calendar(hostile_days(), FIRST, LAST, NOW)),
    "hostile-day": day_page(hostile_answer(SATURDAY), NOW),
    "year": coverage_page(
        Calendar([landed(LAST - timedelta(days=n)) for n in range(364, 29, -1)] + month(), date(2024, 12, 1), LAST, NOW)
    ),
}

MANY = answer(SATURDAY).manifest
assert MANY
LISTED = replace(MANY.files[0], name=f"shop/eu {'x' * 90}/{MANY.files[0].name}")
CROWDED = replace(answer(SATURDAY), manifest=replace(MANY, files=(LISTED,) * 10_000))
NOTHING = [known(FIRST + timedelta(days=n), "missing") for n in range(30)]
PAGES |= {
    "new": coverage_page(Calendar(NOTHING, FIRST, LAST, NOW, since=LAST)),
    "many-files": day_page(CROWDED, NOW, entra=True),
    "problem": problem_page("Not found", f"{SATURDAY} was never exported.", SATURDAY, NOW, home="../exports"),
}

every_page = pytest.mark.parametrize("name", PAGES)
both_schemes = pytest.mark.parametrize("scheme", ["light", "dark"])

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


@every_page
@both_schemes
def test_all_text_can_be_read_against_its_background(open_page: Open, serve: Serve, name: str, scheme: str) -> None:
    page = open_page(serve(PAGES[name]), color_scheme=scheme)
    page.evaluate(OPEN_ALL)
    found = page.evaluate(CONTRAST)
    assert len(found) > 7
    assert [text for text in found if text[0] < 4.5] == []


@every_page
def test_whatever_can_be_reached_has_a_name_and_ids_are_unique(open_page: Open, serve: Serve, name: str) -> None:
    page = open_page(serve(PAGES[name]))
    page.evaluate(OPEN_ALL)
    assert page.evaluate(NAMELESS) == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    referred = page.evaluate(
        "() => [...document.querySelectorAll('[aria-labelledby]')].map((e) => e.ariaLabelledByElements.length)"
    )
    assert all(referred)
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"


@every_page
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_all_of_it_is_shown_without_scrolling_sideways(open_page: Open, serve: Serve, name: str, width: int) -> None:
    """Nor is an input cut; and whatever can be pressed is large enough for a finger."""
    page = open_page(serve(PAGES[name]), **PHONE | {"viewport": {"width": width, "height": 844}})
    page.evaluate(OPEN_ALL)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        "() => [...document.querySelectorAll('main a, main button')].filter((e) => e.checkVisibility())"
        ".map((e) => [e.getBoundingClientRect().height, e.textContent]).filter(([height]) => height < 24)"
    )
    assert small == []
    assert page.evaluate("() => [...document.querySelectorAll('input')].filter((e) => e.clientWidth < 130).length") == 0


@pytest.mark.parametrize("name", ["hostile-month", "hostile-day"])
def test_hostile_text_runs_nothing_and_is_shown_as_it_is(open_page: Open, serve: Serve, name: str) -> None:
    page = open_page(serve(PAGES[name]))  # a dialog, an error or a foreign request fails the test
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
    html, headers = PAGES[name]
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
    page = open_page(serve(PAGES["month"]), java_script_enabled=False)
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
    page = open_page(serve(PAGES["month"]))
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
    url = serve(PAGES["month"])
    page = open_page(f"{url}?code=a%2Bkey%3D%3D#d-2025-11-15")
    assert page.url == f"{url}#d-2025-11-15"
    requested: list[tuple[str, str | None]] = []
    page.on("request", lambda request: requested.append((request.url, request.headers.get("x-functions-key"))))
    page.get_by_label("From").fill("2025-10-01")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/api/exports?from=2025-10-01&to=2025-11-30")
    page.get_by_role("link", name="90 days").click()
    page.wait_for_url("**/api/exports?from=2025-09-02&to=2025-11-30")
    page.go_back()
    page.wait_for_url("**/api/exports?from=2025-10-01&to=2025-11-30")
    with page.expect_response("**/api/exports?*"):
        page.keyboard.press("F5")
    assert len(requested) == 4
    assert {key for _, key in requested} == {"a+key=="}
    assert not [address for address, _ in requested if "key" in address]
    assert "a+key" not in page.content()


def test_an_address_with_a_last_slash_leads_to_the_same_places(open_page: Open, serve: Serve) -> None:
    url = serve(PAGES["month"])
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
]


@pytest.mark.parametrize("shown", PICTURES, ids=[shown[0] for shown in PICTURES])
def test_pictures(
    open_page: Open, serve: Serve, picture: Callable[..., bytes], shown: tuple[str, str, str, dict[str, object]]
) -> None:
    """Both schemes differ, and each picture shows something; UPDATE_SCREENSHOTS=1 keeps them for the docs."""
    file, name, fragment, options = shown
    page = open_page(serve(PAGES[name]) + fragment, **options)
    taken = picture(page, file, full_page=name == "month")
    paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(16, 20, 19)" if options["color_scheme"] == "dark" else "rgb(246, 247, 246)")
    assert len(taken) > 20_000
