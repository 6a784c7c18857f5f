"""A night's work by any clock: what is queued, what is swept, which messages are dropped, and what is given up."""

from __future__ import annotations

import json
import logging
import signal
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from types import SimpleNamespace

import pytest
from azure.functions import HttpRequest, QueueMessage
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

import function_app
from local.azurite import Azurite
from local.simulator import Simulator
from shared import stop
from shared.app import App, open_app
from shared.dates import DAY as ONE_DAY
from shared.dates import newest_complete_day
from shared.days.state import RunState
from shared.days.status import INSTANTS, RunStatus
from shared.errors import Interrupted, InvalidMessage, PermanentError, StorageDenied, TransientError
from shared.runs.messages import Order
from shared.runs.nightly import Nightly
from shared.runs.poison import report_undecodable
from shared.runs.runs import MAX_FAILURES, Runs
from shared.storage.queue import PEEKED, Queue, open_queue
from shared.web import routes
from tests.doubles.memory import MemoryClient
from tests.faults.reader import Reader

pytestmark = pytest.mark.in_memory

TODAY = date(2026, 3, 10)
NEWEST = TODAY - ONE_DAY
NIGHT = datetime.combine(TODAY, time(3, 30), UTC)
LOOKBACK = 3


class Clock:
    """A clock that a test sets. The storage's own goes on beside it."""

    def __init__(self) -> None:
        self.now = NIGHT

    def __call__(self) -> datetime:
        """The time that was set."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Half past three on the night of `TODAY`."""
    return Clock()


@pytest.fixture
def app(environ: dict[str, str], clock: Clock) -> Iterator[App]:
    """The app by that clock, looking back three days."""
    with open_app(environ | {"EXPORT_LOOKBACK_DAYS": str(LOOKBACK)}, clock=clock) as app:
        yield app


def night(app: App, **settings: object) -> list[Order]:
    """What a night's work queues. Keywords are settings."""
    changed = replace(app.settings, **settings)  # type: ignore[arg-type]  # names are checked by replace
    runs = Runs(app.container, changed, app.runs.export, app.clock)
    return [Order.from_message(text) for text in Nightly(runs, app.container, changed).work()]


def days_before(*numbers: int) -> list[date]:
    """Days by their distance to the newest complete one, the oldest first."""
    return [NEWEST - number * ONE_DAY for number in sorted(numbers, reverse=True)]


def queued(orders: list[Order]) -> list[date]:
    assert {order.trigger for order in orders} <= {"timer"}
    return [order.day for order in orders]


def work(app: App, order: Order) -> None:
    app.runs.work(order, message_id=uuid.uuid4().hex)


def word(app: App, day: date = NEWEST) -> str:
    """What the status blob says."""
    document = app.container.read(app.settings.names.status(day))
    assert document
    found: str = json.loads(document.data)["status"]
    return found


def events_of(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    """The app's log lines of one kind."""
    lines = [json.loads(record.message) for record in caplog.records if record.name == "amplitude_export"]
    return [line for line in lines if line["event"] == event]


class TestLookBack:
    """Which days a night queues."""

    def test_all_that_has_not_landed(self, app: App) -> None:
        """In the first night these are the newest day, and the look-back before it."""
        assert queued(night(app)) == days_before(0, 1, 2, 3)

    def test_landed_days_are_left_alone_but_for_the_newest(self, app: App) -> None:
        """Yesterday is asked for again each time: the timer may fire twice."""
        for order in night(app):
            work(app, order)
        assert queued(night(app)) == days_before(0)

    def test_no_metadata_of_another_day_stops_a_day(self, app: App) -> None:
        """Nor is a figure taken that no day can have."""
        name, figures = app.settings.names.manifest(NEWEST - ONE_DAY), {"status": "complete", "events": "9" * 4301}
        app.container.put(name, b"{}", figures, over=None)
        work(app, Order(NEWEST))
        document = app.container.read(app.settings.names.status(NEWEST))
        assert document
        status = json.loads(document.data)
        assert status["status"] == "complete"
        assert (status["progress"]["hours_done"], status["progress"]["attempt"]) == (24, 1)

    @pytest.mark.parametrize("when", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
    def test_no_time_of_another_day_stops_a_day(self, app: App, when: str) -> None:
        """Nothing can be added to the end of time, and nothing be taken from its beginning."""
        figures = {"status": "running", "run_id": "r", "trigger": "http"} | dict.fromkeys(INSTANTS, when)
        document = json.dumps(figures | {"date": str(NEWEST - ONE_DAY)}).encode()
        app.container.put(app.settings.names.status(NEWEST - ONE_DAY), document, figures, over=None)
        assert queued(night(app)) == days_before(0, 1, 2, 3)

    def test_a_day_in_the_queue_gets_no_second_message(self, app: App, clock: Clock) -> None:
        """Until an hour has gone by: its message may be lost."""
        night(app)
        clock.now += timedelta(minutes=59)
        assert queued(night(app)) == []
        clock.now += timedelta(minutes=2)
        assert queued(night(app)) == days_before(0, 1, 2, 3)

    def test_a_failed_day_is_tried_again_each_night(self, app: App, simulator: Simulator, clock: Clock) -> None:
        """Whatever it failed with: somebody may have mended it."""
        simulator.keys = ("other", "keys")
        for order in night(app):
            work(app, order)
        assert [word(app, day) for day in days_before(0, 3)] == ["failed", "failed"]
        clock.now += ONE_DAY
        assert queued(night(app)) == [day + ONE_DAY for day in days_before(0, 1, 2, 3)]

    def test_each_landed_day_is_exported_once_more(self, app: App, simulator: Simulator, clock: Clock) -> None:
        """Its first export began less than 24 h after the day's end. What the second one ends with does not matter."""
        (order,) = night(app, lookback_days=0)
        work(app, order)
        simulator.forget(NEWEST, 5)
        clock.now += ONE_DAY
        orders = night(app, lookback_days=1)
        assert queued(orders) == [NEWEST, NEWEST + ONE_DAY]
        clock.now = datetime.combine(TODAY + ONE_DAY, time(), UTC)  # 24 h, to the second
        work(app, orders[0])
        assert word(app) == "failed", "fewer events"
        clock.now = NIGHT + 2 * ONE_DAY
        assert NEWEST not in queued(night(app, lookback_days=2))

    def test_an_hour_that_had_only_some_events_at_first_ends_whole(
        self, app: App, simulator: Simulator, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        (order,) = night(app, lookback_days=0)
        work(app, order)
        assert events_of(caplog, "day_grew") == []
        late = simulator.member_bytes(NEWEST)[5, 0] + b'{"uuid":"late"}\n' * 3
        simulator.put(NEWEST, 5, 0, late)
        clock.now += ONE_DAY
        work(app, night(app, lookback_days=1)[0])
        assert Reader(app.container._client).files(NEWEST) == simulator.member_bytes(NEWEST)  # noqa: SLF001
        (line,) = events_of(caplog, "day_grew")
        assert line["events"] == int(str(line["events_before"])) + 3
        done = events_of(caplog, "run_complete")[-1]
        assert [done[name] for name in ("added", "changed", "removed")] == [0, 1, 0]

    @pytest.mark.parametrize(("recheck", "wanted"), [("all", True), ("empty-hours", False), ("off", False)])
    def test_a_day_without_an_empty_hour(self, app: App, clock: Clock, recheck: str, *, wanted: bool) -> None:
        (order,) = night(app, lookback_days=0)
        work(app, order)
        clock.now += ONE_DAY
        assert (NEWEST in queued(night(app, lookback_days=1, recheck=recheck))) == wanted

    @pytest.mark.parametrize(("recheck", "wanted"), [("empty-hours", True), ("off", False)])
    def test_a_day_with_an_empty_hour(
        self, app: App, simulator: Simulator, clock: Clock, recheck: str, *, wanted: bool
    ) -> None:
        simulator.forget(NEWEST, 5)
        (order,) = night(app, lookback_days=0)
        work(app, order)
        clock.now += ONE_DAY
        assert (NEWEST in queued(night(app, lookback_days=1, recheck=recheck))) == wanted

    def test_nothing_before_the_start_date(self, app: App) -> None:
        """A start date in the future wants nothing at all yet."""
        assert queued(night(app, start_date=NEWEST - ONE_DAY)) == days_before(0, 1)
        assert queued(night(app, start_date=TODAY)) == []

    def test_nothing_beyond_the_retention(self, app: App, caplog: pytest.LogCaptureFixture) -> None:
        """It would expire at once. Nobody has to act, so no line says that it failed."""
        assert queued(night(app, retention_days=2)) == days_before(0, 1)
        assert events_of(caplog, "nightly_failed") == []

    def test_no_look_back(self, app: App) -> None:
        """0 turns it off. The newest day is exported even if it has landed already."""
        work(app, Order(NEWEST))
        assert queued(night(app, lookback_days=0, recheck="off")) == days_before(0)

    @pytest.mark.parametrize(("hour", "newest"), [(1, NEWEST - ONE_DAY), (2, NEWEST)])
    def test_yesterday_is_complete_from_two_on(self, app: App, clock: Clock, hour: int, newest: date) -> None:
        """A night that begins earlier takes the day before."""
        clock.now = datetime.combine(TODAY, time(hour), UTC)
        assert queued(night(app, lookback_days=0)) == [newest]

    def test_a_day_that_is_being_exported_is_left_alone(self, app: App, container: ContainerClient) -> None:
        """Its lock is held."""
        night(app, lookback_days=0)
        lease = container.get_blob_client(app.settings.names.status(NEWEST)).acquire_lease(15)
        assert queued(night(app)) == days_before(1, 2, 3)
        lease.release()

    @pytest.mark.parametrize("past_due", [False, True])
    def test_a_past_due_night_does_the_same(
        self, app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, past_due: bool
    ) -> None:
        """One call catches up on all that were missed. Its messages go although it cannot look into the queue."""
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(function_app, "opened", lambda: app)
        monkeypatch.setenv("AzureWebJobsStorage", "UseDevelopmentStorage=true")
        sent: list[str] = []

        def refuse(queue: Queue) -> None:
            raise StorageDenied(queue.name)

        monkeypatch.setattr(function_app, "report_undecodable", refuse)
        with pytest.raises(StorageDenied, match=f"^{function_app.POISON}$"):
            function_app.nightly.build().get_user_function()(
                SimpleNamespace(past_due=past_due), SimpleNamespace(set=sent.extend)
            )
        (line,) = events_of(caplog, "nightly_done")
        assert (line["past_due"], line["queued"], len(sent)) == (past_due, LOOKBACK + 1, LOOKBACK + 1)

    def test_a_day_that_cannot_be_queued_holds_no_other_up(self, app: App, container: ContainerClient) -> None:
        """The night fails only where no day at all could be queued: then the host has something to report."""
        night(app, lookback_days=0)
        container.get_blob_client(app.settings.names.status(NEWEST)).acquire_lease(-1)
        assert queued(night(app)) == days_before(1, 2, 3)
        with pytest.raises(StorageDenied):
            night(app, lookback_days=0)


class TestWhatANewRunTakesOver:
    """Of the run before it, and of the days."""

    def test_what_proved_too_large(self, app: App) -> None:
        before = RunStatus(NEWEST, RunState.FAILED, "old", "timer", max_window_hours=6)
        app.container.put(app.settings.names.status(NEWEST), before.to_json(), {}, over=None)
        assert app.runs.ask(NEWEST, "http").status.max_window_hours == 6

    def test_not_when_it_was_queued_nor_its_volume(self, app: App) -> None:
        night(app, lookback_days=0)
        for _ in range(2):
            assert app.runs.run_now(Order(NEWEST)).volume is None, "there is no day before it"
        document = app.container.read(app.settings.names.status(NEWEST))
        assert document
        assert json.loads(document.data)["queued_at"] is None


class TestSweep:
    """What dead tries left. The storage's clock cannot be set: the night's is, to a day later."""

    @pytest.fixture
    def day(self, app: App, clock: Clock) -> date:
        """A day of the look-back that has landed, with a blob in its folder that no manifest lists."""
        clock.now = datetime.now(UTC)
        day = newest_complete_day(clock.now) - ONE_DAY
        work(app, Order.from_message(app.runs.ask(day, "http").message))
        folder = app.settings.names.events(day)
        app.container.put_text(f"{folder}hour=00/187520_{day}_00_0.deadbeef.json", b"{}\n", "application/x-ndjson")
        return day

    def blobs(self, app: App, day: date) -> list[str]:
        """What stands in the folder of a day."""
        return [blob.name for blob in app.container.blobs(app.settings.names.events(day))]

    def listed(self, app: App, day: date) -> list[str]:
        """What its manifest lists."""
        document = app.container.read(app.settings.names.manifest(day))
        assert document
        return sorted(file["name"] for file in json.loads(document.data)["files"])

    def test_goes_after_24_hours(self, app: App, container: MemoryClient, clock: Clock, day: date) -> None:
        """And nothing that is listed goes with it. Days are queued last: one without its message waits for an hour."""
        clock.now += timedelta(hours=24, minutes=1)
        writes: list[str] = []
        container.fault = lambda kind, _: writes.append(kind) if kind in ("delete_blob", "upload_blob") else None
        night(app)
        assert (writes[0], set(writes[1:])) == ("delete_blob", {"upload_blob"})
        assert self.blobs(app, day) == self.listed(app, day)

    def test_stays_until_then(self, app: App, clock: Clock, day: date) -> None:
        """A try may be about to list it."""
        clock.now += timedelta(hours=23, minutes=59)
        night(app)
        assert len(self.blobs(app, day)) == len(self.listed(app, day)) + 1

    def test_of_a_day_that_never_landed(self, app: App, clock: Clock, day: date) -> None:
        """Without a manifest nothing is listed."""
        app.container.delete(app.settings.names.manifest(day))
        clock.now += timedelta(hours=24, minutes=1)
        night(app)
        assert self.blobs(app, day) == []

    def test_beyond_the_look_back_nothing_is_looked_at(self, app: App, clock: Clock, day: date) -> None:
        """The next run of such a day takes the leftover away."""
        clock.now += timedelta(days=LOOKBACK)
        night(app)
        assert len(self.blobs(app, day)) == len(self.listed(app, day)) + 1

    def test_a_manifest_that_cannot_be_read_saves_all_blobs(
        self, app: App, clock: Clock, day: date, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What it lists is not known. The other days are seen to all the same."""
        app.container.put_text(app.settings.names.manifest(day), b"{", "application/json")
        before = self.blobs(app, day)
        clock.now += timedelta(hours=24, minutes=1)
        night(app)
        assert self.blobs(app, day) == before
        assert "InvalidManifest" in [line["error_type"] for line in events_of(caplog, "nightly_failed")]


class TestMessages:
    """Which messages are done, dropped, or come back."""

    def test_of_a_run_that_another_has_replaced(self, app: App, simulator: Simulator) -> None:
        """Dropped, before and after the other one is done."""
        old = Order.from_message(app.runs.ask(NEWEST, "http").message)
        new = Order.from_message(app.runs.ask(NEWEST, "http", replace=True).message)
        work(app, old)
        assert (simulator.requests, word(app)) == ([], "queued")
        work(app, new)
        assert word(app) == "complete"
        work(app, old)
        assert len(simulator.requests) == 1

    def test_of_a_run_that_another_replaces_just_before_the_lock(
        self, app: App, container: MemoryClient, simulator: Simulator
    ) -> None:
        """The status that counts is the one that is read under the lease."""
        order = Order.from_message(app.runs.ask(NEWEST, "http").message)

        def replace_first(kind: str, _: str) -> None:
            if kind == "acquire_lease":
                container.fault = lambda _, __: None
                app.runs.ask(NEWEST, "http", replace=True)

        container.fault = replace_first
        work(app, order)
        assert (simulator.requests, word(app)) == ([], "queued")

    def test_of_a_complete_run(self, app: App, simulator: Simulator, caplog: pytest.LogCaptureFixture) -> None:
        """A message may come twice."""
        caplog.set_level(logging.INFO)
        order = Order.from_message(app.runs.ask(NEWEST, "http").message)
        work(app, order)
        work(app, order)
        assert len(simulator.requests) == 1
        assert [line["reason"] for line in events_of(caplog, "run_dropped")] == ["the run is complete"]

    @pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b'{"date": "9 March"}'])
    def test_that_nobody_can_read(
        self, app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, body: bytes
    ) -> None:
        """It is done, with one line for the alert: it would be no better the next time."""
        monkeypatch.setattr(function_app, "opened", lambda: app)
        function_app.export_day.build().get_user_function()(QueueMessage(body=body))
        assert [record.levelname for record in caplog.records if record.name == "amplitude_export"] == ["ERROR"]

    def test_written_by_hand(self, app: App, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only a date: it exports the day, landed or not, and a second delivery of the same message does nothing."""
        monkeypatch.setattr(function_app, "opened", lambda: app)
        work(app, Order.from_message(app.runs.ask(NEWEST, "http").message))
        message = QueueMessage(id="the-same", body=f'{{"date": "{NEWEST}"}}'.encode())
        for _ in range(2):
            function_app.export_day.build().get_user_function()(message)
        assert len(simulator.requests) == 2
        work(app, Order(NEWEST))
        assert len(simulator.requests) == 3

    def test_of_a_day_that_nobody_asked_for(self, app: App) -> None:
        """The status may be lost: the message says enough."""
        work(app, Order(NEWEST, "a-run", "http"))
        assert word(app) == "complete"

    def test_failures_of_the_run_before_do_not_count(self, app: App, simulator: Simulator) -> None:
        """A message without a run begins anew."""
        before = RunStatus(NEWEST, RunState.FAILED, "old", "timer", failures=MAX_FAILURES)
        app.container.put(app.settings.names.status(NEWEST), before.to_json(), {}, over=None)
        simulator.stop()
        with pytest.raises(TransientError):
            work(app, Order(NEWEST))
        simulator.start()

    def test_a_transient_error_brings_it_back(self, app: App, simulator: Simulator) -> None:
        """The same run goes on with its next delivery."""
        simulator.stop()
        order = Order.from_message(app.runs.ask(NEWEST, "http").message)
        with pytest.raises(TransientError):
            work(app, order)
        assert word(app) == "queued"
        simulator.start()
        work(app, order)
        assert word(app) == "complete"

    def test_of_a_withdrawn_run(self, app: App, simulator: Simulator, caplog: pytest.LogCaptureFixture) -> None:
        """Dropped, and nothing is given up. The day can be asked for again at once."""
        caplog.set_level(logging.INFO)
        order = Order.from_message(app.runs.ask(NEWEST, "http").message)
        withdrawn = app.runs.withdraw(NEWEST)
        assert (withdrawn and (withdrawn.run_id, withdrawn.status)) == (order.run_id, "withdrawn")
        work(app, order)
        app.runs.give_up(order.to_message())
        assert (simulator.requests, word(app)) == ([], "withdrawn")
        assert [line["reason"] for line in events_of(caplog, "run_dropped")] == ["the run is withdrawn"]
        assert events_of(caplog, "run_failed") == []
        again = app.runs.ask(NEWEST, "http")
        assert again.message
        work(app, Order.from_message(again.message))
        assert word(app) == "complete"

    def test_only_a_queued_run_can_be_withdrawn(self, app: App, container: ContainerClient) -> None:
        """One that runs is left alone, and one that has ended has nothing to take back."""
        assert app.runs.withdraw(NEWEST) is None
        order = Order.from_message(app.runs.ask(NEWEST, "http").message)
        lease = container.get_blob_client(app.settings.names.status(NEWEST)).acquire_lease(15)
        running = app.runs.withdraw(NEWEST)
        assert (running and (running.run_id, running.status), word(app)) == ((order.run_id, "running"), "queued")
        lease.release()
        work(app, order)
        assert (app.runs.withdraw(NEWEST), word(app)) == (None, "complete")

    def test_of_a_day_beyond_what_may_be_queued(
        self, app: App, container: MemoryClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Days that are queued already count once."""
        monkeypatch.setattr(routes, "MAX_QUEUED", 2)

        def post(day: date) -> int:
            url, params = "http://localhost/api/exports/x", {"date": day.isoformat()}
            request = HttpRequest(method="POST", url=url, route_params=params, body=b"")
            answer = routes.answer(request, lambda: routes.rerun(app, request, lambda _: None), {})
            return int(answer.status_code)

        assert [post(day) for day in (*days_before(0, 1), *days_before(0, 2))] == [202, 202, 429, 202]
        app.runs.withdraw(NEWEST)
        assert [post(day) for day in days_before(2)] == [202]

        meanwhile: list[int] = []

        def another(kind: str, _: str) -> None:
            if kind == "upload_blob" and not meanwhile:
                meanwhile.append(0)
                meanwhile.append(post(NEWEST - ONE_DAY))

        app.runs.withdraw(NEWEST - ONE_DAY)
        container.fault = another
        assert (post(NEWEST), meanwhile) == (202, [0, 429]), "days that another request is queueing count, too"

    def test_that_fails_five_times_is_done(
        self, app: App, simulator: Simulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The day has failed with the last error, and one line says so. A new run begins to count again."""
        simulator.stop()
        order = Order.from_message(app.runs.ask(NEWEST, "http").message)
        for _ in range(MAX_FAILURES - 1):
            with pytest.raises(TransientError):
                work(app, order)
        assert (word(app), events_of(caplog, "run_failed")) == ("queued", [])
        work(app, order)
        assert word(app) == "failed"
        assert [line["error_type"] for line in events_of(caplog, "run_failed")] == ["AmplitudeUnavailable"]
        with pytest.raises(TransientError):
            work(app, Order.from_message(app.runs.ask(NEWEST, "http").message))
        simulator.start()

    def test_of_a_run_that_is_stopped_comes_back_however_often(
        self, app: App, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It stops at a safe point, does not count as failed, and leaves nothing behind."""
        received: list[int] = []
        monkeypatch.setattr(stop, "received", received)
        simulator.observe = lambda _: received.append(signal.SIGTERM)
        order = Order.from_message(app.runs.ask(NEWEST, "http").message)
        for _ in range(MAX_FAILURES + 1):
            received.clear()
            with pytest.raises(Interrupted):
                work(app, order)
            assert word(app) == "queued"
        simulator.observe = lambda _: None
        received.clear()
        work(app, order)
        assert word(app) == "complete"
        assert Reader(app.container._client).unlisted(NEWEST) == set()  # noqa: SLF001

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "2026-03-09",
            "[]",
            "null",
            "{}",
            '{"date": 20260309}',
            '{"date": "2026-02-30"}',
            '{"date": "../2026-03-09"}',
            '{"date": "2026-03-09", "run_id": 7}',
            '{"date": "2026-03-09", "run_id": "../x"}',
            '{"date": "2026-03-09", "run_id": "' + "a" * 65 + '"}',
            '{"date": "2026-03-09", "replace": "yes"}',
            '{"date": "2026-03-09", "trigger": 7}',
        ],
    )
    def test_malformed(self, app: App, container: ContainerClient, caplog: pytest.LogCaptureFixture, text: str) -> None:
        """Refused as permanent; given up with the one ERROR line, and without a trace in the container."""
        with pytest.raises(InvalidMessage):
            Order.from_message(text)
        app.runs.give_up(text)
        assert [line["error_type"] for line in events_of(caplog, "run_failed")] == ["InvalidMessage"]
        assert list(container.list_blob_names()) == []

    def test_of_a_day_that_cannot_be_exported(self, app: App, caplog: pytest.LogCaptureFixture) -> None:
        """It would fail again: recorded, and done."""
        work(app, Order(TODAY, "a-run", "http"))
        assert word(app, TODAY) == "failed"
        (line,) = events_of(caplog, "run_failed")
        assert (line["error_type"], line["date"]) == ("InvalidDate", TODAY.isoformat())


class TestGiveUp:
    """The poison queue: the run has failed, unless it is not the day's run any more, alive, or has landed after all."""

    @pytest.fixture
    def order(self, app: App) -> Order:
        """A run in the queue."""
        return Order.from_message(app.runs.ask(NEWEST, "http").message)

    def failures(self, caplog: pytest.LogCaptureFixture) -> list[object]:
        """The types of all ERROR lines of runs."""
        return [line["error_type"] for line in events_of(caplog, "run_failed")]

    def test_a_run_that_never_said_a_word(self, app: App, order: Order, caplog: pytest.LogCaptureFixture) -> None:
        """Its host died at each try."""
        app.runs.give_up(order.to_message())
        assert (word(app), self.failures(caplog)) == ("failed", ["RunDied"])

    def test_a_run_with_an_error_keeps_it(
        self, app: App, order: Order, simulator: Simulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What it failed with last says more."""
        simulator.stop()
        with pytest.raises(TransientError):
            work(app, order)
        app.runs.give_up(order.to_message())
        assert (word(app), self.failures(caplog)) == ("failed", ["AmplitudeUnavailable"])
        simulator.start()

    def test_a_run_whose_status_is_lost(
        self, app: App, order: Order, container: ContainerClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is one again, and it says what happened."""
        container.delete_blob(app.settings.names.status(NEWEST))
        app.runs.give_up(order.to_message())
        assert (word(app), self.failures(caplog)) == ("failed", ["RunDied"])

    def test_replaced(self, app: App, order: Order, caplog: pytest.LogCaptureFixture) -> None:
        """What the other run will do is not known yet."""
        app.runs.ask(NEWEST, "http", replace=True)
        app.runs.give_up(order.to_message())
        assert (word(app), self.failures(caplog)) == ("queued", [])

    @pytest.mark.parametrize("status", [("expired", "r", "queue"), ("failed", "of-a-laptop", "cli")])
    def test_none_of_its_own(self, app: App, caplog: pytest.LogCaptureFixture, status: tuple[str, str, str]) -> None:
        """The day has expired meanwhile; or the message has no run, and the latest one came from elsewhere."""
        state, run_id, trigger = status
        name = app.settings.names.status(NEWEST)
        app.container.put(name, RunStatus(NEWEST, RunState(state), run_id, trigger).to_json(), {}, over=None)
        app.runs.give_up(Order(NEWEST, "r" if run_id == "r" else "").to_message())
        assert (word(app), self.failures(caplog)) == (state, [])

    def test_alive(self, app: App, order: Order, container: ContainerClient, caplog: pytest.LogCaptureFixture) -> None:
        """Somebody holds the lock."""
        lease = container.get_blob_client(app.settings.names.status(NEWEST)).acquire_lease(15)
        app.runs.give_up(order.to_message())
        assert (word(app), self.failures(caplog)) == ("queued", [])
        lease.release()

    def test_complete(self, app: App, order: Order, caplog: pytest.LogCaptureFixture) -> None:
        """The message had failed for another reason."""
        work(app, order)
        app.runs.give_up(order.to_message())
        assert (word(app), self.failures(caplog)) == ("complete", [])

    def test_landed_without_a_word(
        self, app: App, order: Order, container: ContainerClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It died after its manifest put: the manifest names it."""
        work(app, order)
        name = app.settings.names.status(NEWEST)
        document = json.loads(container.download_blob(name).readall()) | {"status": "running"}
        container.upload_blob(name, json.dumps(document).encode(), overwrite=True)
        app.runs.give_up(order.to_message())
        assert self.failures(caplog) == []
        assert word(app) in ("running", "complete")

    def test_only_transient_errors_come_so_far(self, app: App, order: Order, simulator: Simulator) -> None:
        """A permanent one has been recorded at its first try, and its message is done."""
        simulator.keys = ("other", "keys")
        with pytest.raises(PermanentError):
            app.runs.run_now(Order(NEWEST))
        work(app, order)
        assert word(app) == "failed"


class TestPoisonQueue:
    """What lies there is either given up at once, or cannot be decoded and is reported each night."""

    @pytest.fixture
    def client(self, azurite: Azurite) -> Iterator[QueueClient]:
        """The queue itself."""
        with QueueClient.from_connection_string(azurite.connection_string, f"q-{uuid.uuid4().hex}-poison") as client:
            yield client

    def reported(self, client: QueueClient, azurite: Azurite, caplog: pytest.LogCaptureFixture) -> list[object]:
        """What a look into the queue reports."""

        def hide_another(_: float) -> None:
            client.receive_message(visibility_timeout=600)

        caplog.clear()
        environ = {"AzureWebJobsStorage": azurite.connection_string}
        with open_queue(environ, str(client.queue_name), in_azure=False) as queue:
            report_undecodable(queue, sleep=hide_another)
        lines = events_of(caplog, "run_failed")
        assert {line["error_type"] for line in lines} <= {"InvalidMessage"}
        return [line["error_message"] for line in lines]

    @pytest.mark.parametrize("endpoint", ["http://a.example", "HTTP://127.0.0.1.a.example", "http://a.example\\@[::1]"])
    def test_by_plain_http_on_another_machine(self, endpoint: str) -> None:
        environ = {"AzureWebJobsStorage": f"AccountName=a;AccountKey=a2V5;QueueEndpoint={endpoint}"}
        with pytest.raises(StorageDenied, match="plain http"), open_queue(environ, "q-poison", in_azure=False):
            pass

    def test_each_message_that_cannot_be_decoded(
        self, client: QueueClient, azurite: Azurite, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whether it lies there or the host holds it; and never what it says."""
        assert self.reported(client, azurite, caplog) == [], "no queue, no message"
        client.create_queue()
        for _ in range(PEEKED + 1):
            client.send_message("e30=")
        assert self.reported(client, azurite, caplog) == [], "the host hands it to the function"
        client.clear_messages()
        for _ in range(2):
            client.send_message("no base64: a secret")
        found = self.reported(client, azurite, caplog)
        assert len(found) == 2
        client.receive_message(visibility_timeout=600)
        assert len(self.reported(client, azurite, caplog)) == 2
        assert [text for text in found if "secret" in str(text)] == []

    @pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b'{"date": "2026-03-09", "run_id": "x"}'])
    def test_giving_up_ends_well_whatever_the_message_holds(
        self, caplog: pytest.LogCaptureFixture, body: bytes
    ) -> None:
        """Here even without settings: the host would try again every ten minutes. One line says so."""
        function_app.give_up.build().get_user_function()(QueueMessage(body=body))
        levels = [record.levelname for record in caplog.records if record.name == "amplitude_export"]
        assert levels == ["ERROR"]
