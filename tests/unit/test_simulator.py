"""Everything here speaks to the simulator over real sockets, as the app does."""

import gzip
import io
import socket
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from itertools import islice

import pytest
import requests

from local.simulator import Form, Simulator
from local.simulator.answers import PATH
from local.simulator.days import MEMBERS
from local.simulator.faults import parse

DAY = date(2025, 11, 4)


def ask(simulator: Simulator, start: str = "20251104T00", end: str = "20251104T23") -> requests.Response:
    return requests.get(
        simulator.url, {"start": start, "end": end}, auth=simulator.keys, timeout=30, allow_redirects=False
    )


def opened(answer: requests.Response) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(answer.content))


def names(answer: requests.Response) -> list[str]:
    return opened(answer).namelist()


def files(answer: requests.Response) -> list[bytes]:
    archive = opened(answer)
    return [gzip.decompress(archive.read(name)) for name in archive.namelist() if not name.endswith("/")]


def raw_answer(simulator: Simulator, request: str) -> bytes:
    with socket.create_connection((simulator.host, simulator.port), timeout=30) as connection:
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


# What a project holds


def test_a_whole_day_has_a_file_an_hour_named_as_amplitude_names_them(simulator: Simulator) -> None:
    answer = ask(simulator)
    assert names(answer) == [f"187520/187520_2025-11-04_{hour}#0.json.gz" for hour in range(24)]
    assert files(answer) == list(simulator.member_bytes(DAY).values())
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_hours_can_have_parts_or_no_file() -> None:
    with Simulator(events_per_hour=20, parts=2, empty_hours={3, 4}) as simulator:
        assert list(simulator.member_bytes(DAY)) == [(h, p) for h in range(24) if h not in (3, 4) for p in (0, 1)]
        assert len(names(ask(simulator))) == 44


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        ("20251104T05", "20251104T05", ["2025-11-04_5"]),
        ("20251104T05", "20251104T07", ["2025-11-04_5", "2025-11-04_6", "2025-11-04_7"]),
        ("20251104T23", "20251105T00", ["2025-11-04_23", "2025-11-05_0"]),
    ],
)
def test_both_hours_of_a_range_are_included(simulator: Simulator, start: str, end: str, hours: list[str]) -> None:
    assert names(ask(simulator, start, end)) == [f"187520/187520_{hour}#0.json.gz" for hour in hours]


def test_a_test_says_what_a_day_holds(simulator: Simulator) -> None:
    simulator.set_day(DAY, {(7, 1): b'{"n":2}\n', (7, 0): b'{"n":1}'})
    assert simulator.member_bytes(DAY) == {(7, 0): b'{"n":1}', (7, 1): b'{"n":2}\n'}
    assert files(ask(simulator)) == [b'{"n":1}', b'{"n":2}\n']
    simulator.put(DAY, 8, 0, b"")
    simulator.forget(DAY, 7)
    assert files(ask(simulator)) == [b""]


def test_putting_one_file_leaves_the_days_others(simulator: Simulator) -> None:
    before = simulator.member_bytes(DAY)
    simulator.put_gzip(DAY, 5, 0, gzip.compress(b"1\n") + gzip.compress(b"2\n"))
    assert simulator.member_bytes(DAY) == before | {(5, 0): b"1\n2\n"}
    simulator.forget(DAY, 5)
    assert simulator.member_bytes(DAY) == {file: data for file, data in before.items() if file != (5, 0)}


def test_another_project_has_other_names_and_other_events(simulator: Simulator) -> None:
    before = simulator.member_bytes(DAY)[0, 0]
    simulator.project = 999
    assert names(ask(simulator))[0] == "999/999_2025-11-04_0#0.json.gz"
    assert simulator.member_bytes(DAY)[0, 0] != before


def test_hours_come_three_hours_after_their_start_where_there_is_a_clock(simulator: Simulator) -> None:
    simulator.clock = lambda: datetime(2025, 11, 4, 22, 59, tzinfo=UTC)
    assert len(names(ask(simulator))) == 20
    simulator.clock = lambda: datetime(2025, 11, 4, 23, 0, tzinfo=UTC)
    assert len(names(ask(simulator))) == 21
    simulator.clock = lambda: datetime(2025, 11, 4, 2, 59, tzinfo=UTC)
    assert ask(simulator).status_code == 404


def test_a_big_day_repeats_its_events_and_is_a_good_archive_all_the_same() -> None:
    simulator = Simulator(events_per_hour=1000, distinct_events=300)
    hour = simulator.member_bytes(DAY)[12, 0]
    lines = hour.splitlines(keepends=True)
    assert lines[:300] == lines[300:600]
    assert len(set(lines)) == 300
    assert len(lines) == len(Simulator(events_per_hour=1000).member_bytes(DAY)[12, 0].splitlines())


def test_an_archive_is_made_as_it_is_read_and_not_held() -> None:
    simulator = Simulator(events_per_hour=5_000_000, distinct_events=1000)
    archive = simulator.archive(DAY, 12, 12)
    assert archive.size > 5 * 10**8
    assert sum(map(len, islice(archive, 3))) < 10**6


# Forms of archives


@pytest.mark.parametrize(
    "form",
    [
        *(Form(), Form(folder=True), Form(zip64=True), Form(descriptors=True)),
        *(Form(deflated=True, folder=True), Form(deflated=True, descriptors=True)),
        Form(deflated=True, descriptors=True, zip64=True, folder=True),
    ],
    ids=str,
)
def test_each_form_is_an_archive_with_the_same_files(simulator: Simulator, form: Form) -> None:
    simulator.form = form
    answer = ask(simulator)
    archive = opened(answer)
    assert archive.testzip() is None
    members = [info for info in archive.infolist() if not info.is_dir()]
    assert {info.compress_type for info in members} == {8 if form.deflated else 0}
    assert {bool(info.flag_bits & 8) for info in members} == {form.descriptors}
    assert (archive.namelist()[0] == "187520/") == form.folder
    assert (b"PK\x06\x06" in answer.content) == form.zip64
    assert files(answer) == list(simulator.member_bytes(DAY).values())


# Refusals


def test_credentials_are_asked_for_and_checked(simulator: Simulator) -> None:
    day = {"start": "20251104T00", "end": "20251104T23"}
    without = requests.get(simulator.url, day, timeout=30)
    wrong = requests.get(simulator.url, day, auth=("simulator", "guess"), timeout=30)
    assert (without.status_code, wrong.status_code, ask(simulator).status_code) == (401, 403, 200)
    assert wrong.json()["error"]["metadata"]["details"] == "Invalid API/Secret Key combination"
    assert [request.credentials for request in simulator.requests] == ["none", "wrong", "right"]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *[("20251104T05", "20251104T04"), ("2025-11-04", "20251104T04")],
        *[("20251104T24", "20251105T04"), ("20240101T00", "20250101T00")],
    ],
)
def test_a_bad_range_is_a_bad_request(simulator: Simulator, start: str, end: str) -> None:
    assert ask(simulator, start, end).status_code == 400


def test_nothing_there_is_404(simulator: Simulator) -> None:
    simulator.forget(DAY)
    assert ask(simulator).status_code == 404


def test_what_is_larger_than_allowed_is_refused_and_a_part_of_it_is_not(simulator: Simulator) -> None:
    simulator.largest = simulator.archive(DAY).size - 1
    answer = ask(simulator)
    assert answer.status_code == 400
    assert "too large" in answer.text
    assert "4GB" in answer.text
    assert ask(simulator, end="20251104T11").status_code == 200


# Serving


def test_many_can_ask_at_once(simulator: Simulator) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda hour: ask(simulator, f"20251104T{hour:02d}"), range(24)))
    assert [len(names(answer)) for answer in answers] == list(range(24, 0, -1))


def test_a_connection_serves_several_requests(simulator: Simulator) -> None:
    request = f"GET /api/2/export HTTP/1.1\r\nHost: {simulator.host}\r\n"
    answers = raw_answer(simulator, f"{request}\r\n{request}Connection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 401") == 2


def test_started_again_it_has_the_same_url(simulator: Simulator) -> None:
    url = simulator.url
    simulator.stop()
    with pytest.raises(requests.ConnectionError):
        ask(simulator)
    simulator.start()
    assert simulator.url == url
    assert ask(simulator).status_code == 200


OPTIONS = ["-u", "-m", "local.simulator", "--port", "0", "--secret", "marker-secret", "--fault", "503"]


def test_the_command_line_prints_its_url_and_no_credential() -> None:
    command = [
        sys.executable,
        *["-u", "-m", "local.simulator", "--port", "0", "--secret", "marker-secret", "--fault", "503"],
    ]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout
            url, keys = process.stdout.readline().split()[-1], ("simulator", "marker-secret")
            statuses = [requests.get(url, auth=keys, timeout=30).status_code for _ in range(2)]
        finally:
            process.terminate()
        printed = process.stdout.read()
    assert statuses == [503, 400]
    assert process.returncode == 0
    assert printed.count("\n") == 2
    assert "marker" not in printed


def test_it_can_stand_where_a_proxy_refuses(simulator: Simulator) -> None:
    simulator.fail(parse("407"))
    proxy = simulator.url.removesuffix(PATH)
    with pytest.raises(requests.exceptions.ProxyError, match="407"):
        requests.get("https://amplitude.example", proxies={"https": proxy}, timeout=30)


def test_members_can_be_packed_in_other_ways(simulator: Simulator) -> None:
    usual = files(ask(simulator))
    simulator.member = MEMBERS["gzip-in-gzip"]
    assert [gzip.decompress(file) for file in files(ask(simulator))] == usual
    simulator.member = MEMBERS["two-gzips"]
    assert files(ask(simulator)) == [file + b"\n" for file in usual]


def test_a_wrong_path_gets_the_page_of_whatever_is_in_front(simulator: Simulator) -> None:
    answer = requests.get(simulator.url + "/", timeout=30)
    assert (answer.status_code, answer.text[:6]) == (404, "<html>")
