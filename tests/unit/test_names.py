"""Names of blobs: built in one place, and read back."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.names import CONTENT_TYPES, Format, Kind, Names, is_safe, without_try_id

NOV_4 = date(2025, 11, 4)

prefixes = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=20)
tokens = st.text("0123456789abcdef", min_size=8, max_size=8)
stems = st.builds("{}_2025-11-04_{}_{}".format, st.integers(0), st.integers(0, 23), st.integers(0))
formats = st.sampled_from(sorted(CONTENT_TYPES))
kinds: list[Kind] = ["events", "manifests", "status", "logs"]


@pytest.mark.parametrize(("name", "safe"), [("a..b/c", True), ("a\\..\\b", False), ("a//b", False), ("a/.", False)])
def test_a_name_is_safe_where_no_client_makes_another_of_it(name: str, *, safe: bool) -> None:
    assert is_safe(name) == safe


def test_names_are_those_that_users_know() -> None:
    names = Names("acme/")
    assert names.event_file(NOV_4, 0, "187520_2025-11-04_00_0", "5f3c9a1e", "json.gz") == (
        "acme/events/date=2025-11-04/hour=00/187520_2025-11-04_00_0.5f3c9a1e.json.gz"
    )
    assert names.manifest(NOV_4) == "acme/manifests/date=2025-11-04.json"
    assert names.status(NOV_4) == "acme/status/date=2025-11-04.json"
    assert names.log(NOV_4, "run", "5f3c9a1e") == "acme/logs/date=2025-11-04/run_5f3c9a1e.csv"


@given(prefixes, st.dates(), st.integers(0, 23), stems, tokens, tokens, formats)
def test_the_token_is_all_that_differs_between_tries(  # noqa: PLR0913, PLR0917 - the parts of a name
    prefix: str, day: date, hour: int, stem: str, token: str, other: str, kind: Format
) -> None:
    """Without it, the names of two tries are one; the rest of the name is as it was."""
    names = Names(prefix)
    name = names.event_file(day, hour, stem, token, kind)
    assert without_try_id(name) == without_try_id(names.event_file(day, hour, stem, other, kind))
    assert without_try_id(name) == f"{names.events(day)}hour={hour:02d}/{stem}.{kind}"


@given(stems, stems, tokens, formats, formats)
def test_different_files_stay_different_without_the_token(
    stem: str, other: str, token: str, kind: Format, another: Format
) -> None:
    name = Names("").event_file(NOV_4, 0, stem, token, kind)
    second = Names("").event_file(NOV_4, 0, other, token, another)
    assert (without_try_id(name) == without_try_id(second)) == ((stem, kind) == (other, another))


@given(prefixes, st.dates(), st.integers(0, 23), stems, tokens, formats)
def test_a_name_tells_its_day(  # noqa: PLR0913, PLR0917 - the parts of a name
    prefix: str, day: date, hour: int, stem: str, token: str, kind: Format
) -> None:
    """Each name belongs to its day and its kind, and to no other kind."""
    names = Names(prefix)
    of_kind: dict[Kind, str] = {
        "events": names.event_file(day, hour, stem, token, kind),
        "manifests": names.manifest(day),
        "status": names.status(day),
        "logs": names.log(day, "run", token),
    }
    for own, name in of_kind.items():
        assert name.startswith(names.folder(own))
        assert [other for other in kinds if names.day_of(name, other) == day] == [own]
    assert names.day_of(names.events(day), "events") == names.day_of(names.logs(day), "logs") == day


@pytest.mark.parametrize(
    "name",
    [
        *["manifests/date=2025-11-04.json.bak", "manifests/date=2025-11-04-copy.json", "manifests/date=2025-11-04.jso"],
        *["manifests/date=2025-11-04", "manifests/date=2025-02-30.json", "manifests/date=", ""],
        *["status/date=2025-11-04 (1).json", "status/date=2025-11-04.json/x", "other/manifests/date=2025-11-04.json"],
        *["events/date=2025-11-04-backup/a.json", "events/date=2025-11-04", "logs/date=2025-11-041/a.csv"],
    ],
)
def test_a_name_that_is_not_ours_has_no_day(name: str) -> None:
    assert [kind for kind in kinds if Names("").day_of(name, kind)] == []
