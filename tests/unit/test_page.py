"""The pages as HTML: what they say, what they are told apart by, and that no text of a blob becomes more than text."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.days.calendar import Calendar
from shared.days.day import Day
from shared.days.manifest import LandedFile
from shared.days.state import RunState, State
from shared.days.status import RunError, RunStatus
from shared.errors import ExportError, FewerEvents
from shared.export.publish import refuse_fewer
from shared.text import advice, hours_text, seconds_text, short, size, span_text, visible
from shared.web.pages import HEADERS, coverage_page, day_page, problem_page
from tests.unit.sample_days import (
    DAY,
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

MONTH = coverage_page(Calendar(month(), FIRST, LAST, NOW))[0]
SATURDAY = date(2025, 11, 15)


class Parsed(HTMLParser):
    """A page taken apart: its elements with their attributes, and its text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, _: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("style", "script"):
            self.raw[self._inside] = self.raw.get(self._inside, "") + data
        else:
            self.text += f"{data} "

    def find(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of all such elements."""
        return [a for name, a in self.elements if name == tag and attributes.items() <= a.items()]


def section(html: str, day: date) -> str:
    """The part of the coverage page that a day opens to."""
    return html.partition(f'<section class="card open" id="d-{day}"')[2].partition("</section>")[0]


def test_the_headline_answers_whether_the_data_is_complete() -> None:
    def headline(*rows: Day) -> str:
        return Calendar(rows, FIRST, LAST, NOW).headline

    whole, missing, expired = landed(FIRST), known(FIRST + DAY, "missing"), known(FIRST, "expired")
    assert headline(whole, landed(FIRST + DAY)) == "All 2 days have landed"
    assert headline(whole, missing) == "1 of 2 days have landed"
    assert headline(expired, missing) == "0 of 1 days have landed"
    assert headline(expired, landed(FIRST + DAY)) == "The day has landed"
    assert headline(expired) == headline() == "No day in this range needs an export"


def test_each_state_has_a_glyph_of_its_own_and_is_named_for_a_screen_reader() -> None:
    days = {a["href"]: a for a in Parsed(MONTH).find("a") if str(a.get("class", "")).startswith("day ")}
    seen = {}
    for row in month():
        link = days[f"#d-{row.date}"]
        assert f": {row.state}" in str(link["aria-label"])
        assert f"{row.date.day} November 2025" in str(link["aria-label"])
        cell = MONTH.partition(f'href="#d-{row.date}" aria-label="{link["aria-label"]}">')[2].partition("</a>")[0]
        glyphs = re.findall(r"#g-(\w+)", cell.rpartition("</span>")[2])
        seen[row.state] = glyphs or [re.sub("<[^>]+>", "", cell.rpartition("<b>")[2])]
    assert re.fullmatch(r"\d+k", seen.pop(State.COMPLETE)[0])  # the number of events stands there instead
    assert seen == {state: [state] for state in State if state != State.COMPLETE}


def test_a_landed_day_whose_latest_run_failed_shows_both() -> None:
    label = next(a["aria-label"] for a in Parsed(MONTH).find("a", href=f"#d-{SATURDAY}") if "aria-label" in a)
    assert label == "Saturday, 15 November 2025: complete, 373,311 events; latest run failed"
    opened = Parsed(section(MONTH, SATURDAY)).text
    assert "complete" in opened
    assert "latest run failed" in opened
    assert "The export has 198256" in opened
    assert "What to do:" in opened


def test_a_day_opens_to_its_24_hours() -> None:
    opened = section(MONTH, date(2025, 11, 21))
    hours = re.findall(r"<i class=b(\d+)></i>([^<]+)<b>(\d\d)</b>", opened)
    assert [hour for _, _, hour in hours] == [f"{hour:02d}" for hour in range(24)]
    assert {hour for height, events, hour in hours if height == events == "0"} == {"03", "04"}
    assert max(int(height) for height, _, _ in hours) == 20
    assert "no events in hours 3, 4." in Parsed(opened).text


def test_a_day_of_which_nothing_is_known_says_why() -> None:
    html = coverage_page(Calendar([landed(LAST)], FIRST, LAST + 5 * DAY, NOW))[0]
    assert Parsed(html).text.count("before the start date") == 29
    assert Parsed(html).text.count("not complete yet") == 5


def test_days_that_need_attention_are_named_once_with_their_reason() -> None:
    needs = Calendar(month(), FIRST, LAST, NOW).needs
    assert [(span_text(same[0].date, same[-1].date), same[0].needs, len(same)) for same in needs] == [
        ("24 November 2025", "BadCredentials", 1),
        ("18 to 20 November 2025", "missing", 3),
        ("15 November 2025", "FewerEvents", 1),
        ("10 November 2025", "with warnings", 1),
    ]
    well = coverage_page(Calendar([landed(FIRST)], FIRST, FIRST, NOW))[0]
    assert "no day is missing, none has failed" in Parsed(well).text


def test_missing_days_are_offered_to_be_exported_and_queued_ones_to_be_withdrawn() -> None:
    buttons = {str(b["data-do"]): b for b in Parsed(MONTH).find("button") if "data-from" in b}
    assert {(kind, b["data-from"], b["data-to"]) for kind, b in buttons.items()} == {
        ("missing", "2025-11-18", "2025-11-20"),
        ("withdraw", "2025-11-29", "2025-11-29"),
    }
    assert "Export these 3 days" in MONTH
    assert "Withdraw this day" in MONTH


def test_days_before_the_first_that_anybody_asked_for_are_nobodys_loss() -> None:
    """They do not need attention, and can be exported all the same."""
    days = [known(FIRST + n * DAY, "missing") for n in range(3)] + [landed(FIRST + 3 * DAY), known(LAST, "missing")]
    calendar = Calendar(days, FIRST, LAST, NOW, since=FIRST + 3 * DAY)
    assert [[view.date for view in same] for same in calendar.needs] == [[LAST]]
    assert {("missing", 1), ("before", 3)} < set(calendar.legend)
    page = Parsed(coverage_page(calendar)[0])
    assert "Never requested: 1 to 3 November 2025." in page.text
    assert page.find("button", **{"data-do": "missing", "data-from": "2025-11-01", "data-to": "2025-11-03"})
    assert Calendar(days[:3], FIRST, LAST, NOW, since=date.max).headline == "Nothing has been exported yet"


def test_a_problem_is_a_page_with_the_next_step() -> None:
    html, headers = problem_page("Not found", f"{HOSTILE} was never exported.", SATURDAY, NOW, home="../exports")
    page = Parsed(html)
    assert visible(HOSTILE) in page.text
    assert [b["data-do"] for b in page.find("button") if "data-do" in b] == ["run"]
    assert [a["href"] for a in page.find("a", rel="prev")] == ["2025-11-14"]
    assert page.find("a", href="../exports")
    assert headers is HEADERS
    refused = Parsed(problem_page("Bad request", "The range is empty.", None, NOW, home="exports")[0])
    assert "The range is empty." in refused.text
    assert not refused.find("button", **{"data-do": "run"})
    assert problem_page("Bad request", "x", date.max, NOW, home="exports", entra=True)[0].count("/.auth/logout") == 1


def test_totals_are_those_of_the_rows() -> None:
    text = Parsed(coverage_page(Calendar([landed(FIRST), landed(FIRST + DAY)], FIRST, LAST, NOW))[0]).text
    rows = [landed(FIRST), landed(FIRST + DAY)]
    assert f"{sum(row.landed.events for row in rows if row.landed):,}" in text
    assert size(sum(row.landed.bytes for row in rows if row.landed)) in text


def test_shades_grow_with_the_events_and_one_odd_day_does_not_pale_the_rest() -> None:
    rows = [landed(FIRST + n * DAY, events=events) for n, events in enumerate([1, 50, 100, 100, 10_000])]
    assert [view.level for view in Calendar(rows, FIRST, LAST, NOW).days.values()] == [1, 2, 3, 3, 5]


@pytest.mark.parametrize(
    ("first", "last", "earlier", "later"),
    [
        (FIRST, LAST, ("2025-10-02", "2025-10-31"), None),
        (date(2025, 10, 1), date(2025, 10, 31), ("2025-08-31", "2025-09-30"), ("2025-11-01", "2025-11-30")),
        (date(2025, 11, 20), date(2025, 11, 20), ("2025-11-19", "2025-11-19"), ("2025-11-21", "2025-11-21")),
        (date(2024, 2, 29), date(2024, 2, 29), ("2024-02-28", "2024-02-28"), ("2024-03-01", "2024-03-01")),
        (date.min, date(1, 1, 2), None, ("0001-01-03", "0001-01-04")),
        (date(1, 1, 3), date(1, 1, 9), ("0001-01-01", "0001-01-02"), ("0001-01-10", "0001-01-16")),
    ],
)
def test_links_lead_to_the_ranges_before_and_after(
    first: date, last: date, earlier: tuple[str, str] | None, later: tuple[str, str] | None
) -> None:
    page = Parsed(coverage_page(Calendar([], first, last, NOW))[0])
    for rel, wanted in (("prev", earlier), ("next", later)):
        links = [a["href"] for a in page.find("a", rel=rel)]
        assert links == ([f"?from={wanted[0]}&to={wanted[1]}"] if wanted else [])
    assert [a["value"] for a in page.find("input")] == [str(first), str(last)]


@pytest.mark.parametrize(
    ("last", "year"),
    [
        *[(LAST, date(2024, 12, 1)), (date(2024, 12, 31), date(2024, 1, 1)), (date(2025, 1, 1), date(2024, 2, 1))],
        *[(date(1, 12, 31), date.min), (date(1, 11, 30), date.min), (date.min, date.min)],
    ],
)
def test_the_usual_ranges_end_where_this_one_does_and_hold_a_year_at_most(last: date, year: date) -> None:
    ranges = Calendar([], last, last, NOW).ranges
    assert [text for text, *_ in ranges] == ["30 days", "90 days", "12 months"]
    assert ranges[2][1:3] == (year, last)
    assert all((end - start).days < 366 for _, start, end, _ in ranges)
    assert Calendar([], FIRST, LAST, NOW).ranges[0][3]  # this one is it


def test_months_are_whole_weeks_from_monday_and_hold_each_day_of_the_range_once() -> None:
    months = Calendar([], date(2024, 2, 27), date(2024, 4, 2), NOW).months
    assert [first for first, _ in months] == [date(2024, 2, 27), date(2024, 3, 1), date(2024, 4, 1)]
    days = [day for _, weeks in months for week in weeks for day in week if day]
    assert days == [date(2024, 2, 27) + n * DAY for n in range(36)]
    assert all(len(week) == 7 for _, weeks in months for week in weeks)
    assert all(day is None or day.weekday() == at for _, ws in months for week in ws for at, day in enumerate(week))


def test_a_day_page_shows_all_that_its_manifest_says() -> None:
    document = answer(SATURDAY)
    text = " ".join(Parsed(day_page(document, NOW)[0]).text.split())
    assert document.manifest
    for file in document.manifest.files:
        assert file.name in text
        assert file.sha256 in text
        assert f"{file.events:,}" in text
    for expected in (
        "No events in hours 3, 4.",
        "The median of the landed days before it is 385,120 events; this day has 94 % of that.",
        "Files added 1 changed 2 removed 0 unchanged 19",
        "98 s, 69.3 MB downloaded",
        "2025-11-15T12 to 2025-11-15T23 200 2 39.2 MB 48.5",
        "16 November 2025, 03:31:40 UTC",
    ):
        assert expected in text


def test_a_day_page_shows_a_hundred_warnings_and_counts_the_others() -> None:
    """A manifest may hold as many as its size allows."""
    document = answer(SATURDAY)
    assert document.landed
    many = replace(document, landed=replace(document.landed, warnings=tuple(f"warning-{n}." for n in range(2100))))
    text = Parsed(day_page(many, NOW)[0]).text
    assert text.count("warning-") == 100
    assert "2,000 more warnings are in the manifest." in text


def test_a_day_page_of_a_failed_run_says_what_to_do_and_leaves_the_landed_day_in_sight() -> None:
    error = RunError("BrokenArchive", "The archive ends in the middle of 187520_2025-11-15_7#0.json.gz.")
    document = answer(SATURDAY, run="failed", run_id="b" * 32, error=error)
    page = Parsed(day_page(document, NOW)[0])
    assert "in the middle of 187520_2025-11-15_7#0" in page.text
    assert advice(error) in page.text
    assert "A failed run does not change the landed day." in page.text
    assert "Latest run: failed" in page.text
    assert "complete" in page.text
    assert [b["data-do"] for b in page.find("button") if "data-do" in b] == ["run"]


def test_a_day_page_without_a_manifest_claims_no_figures() -> None:
    page = Parsed(day_page(answer(SATURDAY, run="running", gone=True), NOW)[0])
    assert "running" in page.text
    assert not page.find("dl", **{"class": "figures"})
    assert [b["data-do"] for b in page.find("button") if "data-do" in b] == ["follow"]
    gone = Parsed(day_page(answer(SATURDAY, gone=True), NOW)[0])
    assert "missing" in gone.text  # the run was complete, but somebody took the manifest away


@pytest.mark.parametrize(
    "html",
    [
        coverage_page(Calendar(hostile_days(), FIRST, LAST, NOW))[0],
        day_page(hostile_answer(SATURDAY), NOW)[0],
        day_page(answer(SATURDAY, run="failed", gone=True, error=RunError(HOSTILE, HOSTILE)), NOW)[0],
    ],
)
def test_hostile_text_stays_text(html: str) -> None:
    page = Parsed(html)
    assert not page.find("img")
    assert len(page.find("script")) == 1
    assert visible(HOSTILE) in page.text
    assert "49" not in page.text.replace(visible(HOSTILE), "").split()  # no template inside a template
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert not str(attributes.get("href", "")).startswith("javascript:")
    for forbidden in ("\u202e", "\x1b", "\ud800"):
        assert forbidden not in html
    html.encode()


def test_a_day_page_shows_how_far_its_run_is() -> None:
    progress = {
        "bytes": 5_000_000, "events": 4000, "files": 3, "hours_done": 7, "download_bytes": 900_000, "attempt": 2,
        "retry_at": "2025-12-01T03:31:40Z", "retry_reason": f"Amplitude answered 503 {HOSTILE}",
    }  # fmt: skip
    run = RunStatus(SATURDAY, RunState.RUNNING, "run", "timer", started_at=NOW, progress=progress)
    page = Parsed(day_page(Day(SATURDAY, State.RUNNING, run), NOW)[0])
    text = " ".join(page.text.split())
    for said in ("7 of 24", "4,000 in 3 files, 5.00 MB", "900 kB", "Attempt 2", f"503 {visible(HOSTILE)}"):
        assert said in text
    assert not page.find("a", href=f"{SATURDAY}?download=manifest")


def test_a_day_page_offers_its_manifest_and_its_log() -> None:
    html = day_page(answer(SATURDAY), NOW)[0]
    assert {f"{SATURDAY}?download={kind}" for kind in ("manifest", "log")} <= {
        a["href"] for a in Parsed(html).find("a")
    }


def test_a_day_that_grew_says_by_how_much_as_far_as_that_is_known() -> None:
    day = answer(SATURDAY)
    says = "The day has 5,678 more events than in the previous export."
    assert says in day_page(day, NOW)[0]
    assert says in coverage_page(Calendar([day], FIRST, LAST, NOW))[0]
    assert day.landed
    for before in (None, day.landed.events, day.landed.events + 1):
        same = replace(day, landed=replace(day.landed, events_before=before))
        assert "more events than in the previous" not in day_page(same, NOW)[0]


@given(st.text(st.characters(), max_size=40))
def test_every_character_of_a_shown_text_is_one_that_shows(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize("rendered", [coverage_page(Calendar([], FIRST, LAST, NOW)), day_page(answer(SATURDAY), NOW)])
def test_the_policy_allows_just_this_script_and_this_style(rendered: tuple[str, Mapping[str, str]]) -> None:
    html, headers = rendered
    page = Parsed(html)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    for name in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[name].encode()).digest()).decode()
        assert policy[f"{name}-src"] == f"'sha256-{digest}'"
        assert len(page.find(name)) == 1
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == policy["form-action"] == "'self'"
    assert headers is HEADERS


def test_no_answer_is_kept_framed_or_read_by_another_site() -> None:
    assert {name: HEADERS[name] for name in HEADERS if name != "Content-Security-Policy"} == {
        "Cache-Control": "no-store",
        "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def test_a_page_names_no_other_server() -> None:
    for html in (MONTH, day_page(answer(SATURDAY), NOW)[0]):
        for tag, attributes in Parsed(html).elements:
            for name in ("href", "src", "action"):
                address = attributes.get(name) or ""
                assert not re.match(r"//|https?:", address), (tag, address)


def test_a_year_is_a_page_of_less_than_a_megabyte() -> None:
    rows = [landed(LAST - n * DAY) for n in reversed(range(366))]
    assert len(coverage_page(Calendar(rows, rows[0].date, LAST, NOW))[0]) < 1_000_000


def test_an_unknown_error_has_the_general_advice() -> None:
    assert advice(RunError("NoSuchError", "")) == ExportError.advice


def files(events: Mapping[int, int], project: str = "187520") -> list[LandedFile]:
    return [LandedFile("n", f"{project}/x", hour, 0, 1, count, "") for hour, count in events.items()]


@pytest.mark.parametrize(
    ("old", "new", "question"),
    [
        (files({0: 1200, 1: 300}), files({0: 1200}), "1,500 events have landed. The export has 1,200."),
        (files({0: 9}), files({0: 0}), "9 events have landed. The export has 0."),
        (files({0: 9, 1: 9}), files({0: 20}), "18 events have landed. The export has 20, but none in hour 1,"),
        (
            files({0: 9}),
            files({0: 10}, "1"),
            "9 events of project 187520 have landed. The export has 10 of project 1",
        ),
    ],
)
def test_replacing_asks_a_question_that_names_both_numbers(
    old: list[LandedFile], new: list[LandedFile], question: str
) -> None:
    with pytest.raises(FewerEvents) as raised:
        refuse_fewer(SATURDAY, old, new)
    before, after = sum(f.events for f in old), sum(f.events for f in new)
    day = landed(SATURDAY, events=before, error=RunError.of(raised.value), run="failed")
    asked = Calendar([day], SATURDAY, SATURDAY, NOW).days[SATURDAY].question
    assert asked is not None
    assert question in asked[0]
    assert asked[1:] == (f"Replace {before:,} events with {after:,}", f"Keep the {before:,} events")


def test_replacing_is_offered_only_where_fewer_events_were_refused() -> None:
    def buttons(row: Day) -> list[str | None]:
        page = Parsed(coverage_page(Calendar([row], FIRST, LAST, NOW))[0])
        return [b["data-do"] for b in page.find("button") if "data-day" in b]

    error = fewer(FIRST, 10, 5)
    assert buttons(landed(FIRST, error=error, run="failed")) == ["run", "replace"]
    assert buttons(landed(FIRST, error=error, run="queued")) == ["follow", "withdraw"]
    assert buttons(landed(FIRST, error=RunError("BadRequest", error.message), run="failed")) == ["run"]
    assert buttons(known(FIRST, "missing")) == ["run"]
    assert buttons(known(FIRST, "expired")) == []
    assert buttons(known(NOW.date(), "failed")) == []  # not complete yet


def test_a_day_page_leads_to_its_neighbours_but_not_into_the_future() -> None:
    page = Parsed(day_page(answer(LAST), datetime(2025, 12, 1, 9, tzinfo=UTC))[0])
    assert [a["href"] for a in page.find("a", rel="prev")] == ["2025-11-29"]
    assert page.find("a", rel="next") == []
    assert [a["href"] for a in page.find("a", rel="prev", **{"class": "button"})] == ["2025-11-29"]
    back = next(a["href"] for a in page.find("a") if str(a["href"]).startswith("../"))
    assert back == "../exports?from=2025-11-01&to=2025-11-30#d-2025-11-30"
    december = Parsed(day_page(answer(date(2024, 12, 31)), NOW)[0])
    assert "../exports?from=2024-12-01&to=2024-12-31#d-2024-12-31" in [a["href"] for a in december.find("a")]


@given(st.integers(0, 10**16))
def test_a_short_number_is_short_and_within_a_rounding(value: int) -> None:
    text = short(value)
    assert len(text) <= 6
    unit = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}.get(text[-1], 1)
    assert float(text.rstrip("kMGT")) * unit == pytest.approx(value, rel=0.06)


@given(st.integers(0, 10**15))
def test_a_size_has_three_figures(value: int) -> None:
    figure, unit = size(value).split()
    factor = {"bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}[unit]
    assert float(figure.replace(",", "")) * factor == pytest.approx(value, rel=0.0051)
    assert value < 1000 or len(figure.replace(".", "").replace(",", "")) >= 3


def test_hours_and_spans_read_as_one_would_say_them() -> None:
    assert hours_text([3]) == "hour 3"
    assert hours_text([3, 4]) == "hours 3, 4"
    assert hours_text([0, 1, 2, 9, 22, 23]) == "hours 0 to 2, 9, 22, 23"
    assert span_text(FIRST, FIRST) == "1 November 2025"
    assert span_text(FIRST, LAST) == "1 to 30 November 2025"
    assert span_text(FIRST - timedelta(days=2), FIRST) == "30 October to 1 November 2025"
    assert span_text(date(2024, 12, 1), date(2025, 11, 19)) == "1 December 2024 to 19 November 2025"
    said = [seconds_text(seconds) for seconds in (0, 0.233, 9.96, 98, 3900)]
    assert said == ["0.1 s", "0.2 s", "10 s", "98 s", "65 min"]
