"""The local host by itself: what the real one promises about HTTP, queues and timers, on the sample app beside this."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import psutil
import pytest
import requests
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.host import FunctionsHost, HostError
from local.host.queues import idle_pauses

SAMPLE = Path(__file__).parent / "sample_app"
ROOT = Path(__file__).parents[2]
SECONDS = 20
"""Far longer than anything here takes; only a failing test waits so long."""


@pytest.fixture
def queue(azurite: Azurite) -> Iterator[QueueClient]:
    """A queue of the test's own, for the sample app."""
    client = QueueClient.from_connection_string(azurite.connection_string, f"sample-{uuid.uuid4().hex}")
    with closing(client):
        client.create_queue()
        yield client


@pytest.fixture
def start(azurite: Azurite, queue: QueueClient) -> Iterator[Callable[..., FunctionsHost]]:
    """Starts hosts of the sample app, and stops them after the test."""
    hosts = []

    def start(**options: int) -> FunctionsHost:
        host = FunctionsHost(
            app_dir=SAMPLE,
            connection_string=azurite.connection_string,
            environ={"SAMPLE_QUEUE": queue.queue_name},
            **options,  # type: ignore[arg-type]  # the whole numbers among them
        )
        host.start()
        hosts.append(host)
        return host

    yield start
    for host in hosts:
        host.stop()


@pytest.fixture
def host(start: Callable[..., FunctionsHost]) -> FunctionsHost:
    return start()


def send(queue: QueueClient, **order: object) -> None:
    queue.send_message(base64.b64encode(json.dumps(order).encode()).decode())


def executions(host: FunctionsHost, function: str) -> int:
    """How often a function was called; all of it is known only once the host has stopped."""
    return host.output().count(f"Executing 'Functions.{function}'")


def wait_for(host: FunctionsHost, text: str) -> None:
    host.wait_for(lambda line: text in line, SECONDS)


def wait_until_empty(queue: QueueClient) -> None:
    """Wait until no message is left, neither visible nor in work."""
    deadline = time.monotonic() + SECONDS
    while queue.get_queue_properties().approximate_message_count:
        assert time.monotonic() < deadline, "the queue does not get empty"
        time.sleep(0.05)


def test_a_request_reaches_its_function_as_it_was_sent(host: FunctionsHost) -> None:
    url = f"{host.url}/api/things/a%20b?x=1&x=2&y="
    answer = requests.get(url, headers={**host.auth, "Accept": "text/html"}, timeout=SECONDS)
    assert answer.status_code == 203
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "method": "GET",
        "url": url,
        "params": {"x": "1,2", "y": ""},
        "route": {"name": "a b"},
        "accept": "text/html",
    }


def test_only_a_request_with_the_key_reaches_a_function_that_wants_one(host: FunctionsHost) -> None:
    url = f"{host.url}/api/things/a"
    for address, headers in [(url, {}), (url, {"x-functions-key": "wrong"}), (f"{url}?code=wrong", {})]:
        assert requests.get(address, headers=headers, timeout=SECONDS).status_code == 401
    for address, headers in [(url, host.auth), (f"{url}?code={host.key}", {})]:
        assert requests.get(address, headers=headers, timeout=SECONDS).status_code == 203
    assert requests.put(f"{host.url}/api/open", timeout=SECONDS).text == "PUT unset"
    host.stop()
    assert executions(host, "show") == 2


def test_functions_share_a_route_by_method_and_all_else_is_not_found(host: FunctionsHost) -> None:
    def status(method: str, path: str) -> int:
        return requests.request(method, host.url + path, headers=host.auth, data="{}", timeout=SECONDS).status_code

    assert [status(method, "/api/things/a") for method in ("GET", "POST", "DELETE")] == [203, 202, 404]
    assert [status("GET", path) for path in ("/", "/things/a", "/api/things", "/api/things/a/b")] == [404] * 4
    assert status("POST", "/admin/functions/show") == 404  # no timer


def test_a_failing_function_answers_500_without_detail_and_its_output_is_not_sent(
    host: FunctionsHost, queue: QueueClient
) -> None:
    answer = requests.post(f"{host.url}/api/things/a?fail=1", headers=host.auth, data='{"do":"note"}', timeout=SECONDS)
    assert (answer.status_code, answer.text) == (500, "")
    wait_for(host, "a secret detail")
    assert queue.get_queue_properties().approximate_message_count == 0


def test_what_a_timer_puts_out_reaches_the_queue_function_message_by_message(
    host: FunctionsHost, queue: QueueClient
) -> None:
    host.fire_timer("tick", past_due=True)
    wait_until_empty(queue)
    host.stop()
    lines = host.log_lines()
    assert ("INFO", "sample", "tick past_due=True") in lines
    seen = [json.loads(line.message.removeprefix("work ")) for line in lines if line.message.startswith("work ")]
    assert [(json.loads(message["body"])["n"], message["try"]) for message in seen] == [(0, 1), (1, 1)]
    assert ("INFO", "sample", f"worked {seen[0]['id']}\nin 1 tries") in lines


def test_a_timer_is_fired_only_with_the_key_and_its_failure_is_told(host: FunctionsHost) -> None:
    url = f"{host.url}/admin/functions/tick"
    assert requests.post(url, json={"input": ""}, timeout=SECONDS).status_code == 401
    assert requests.post(url, data="no json", headers=host.auth, timeout=SECONDS).status_code == 400
    assert requests.post(url, json={"input": ""}, headers=host.auth, timeout=SECONDS).status_code == 202
    with pytest.raises(HostError, match="tock"):
        host.fire_timer("tock")


def test_a_failing_message_is_tried_again_after_a_pause_then_moved_to_the_poison_queue(
    start: Callable[..., FunctionsHost], queue: QueueClient
) -> None:
    host = start(retry_seconds=1, max_dequeue_count=2)
    send(queue, do="fail")
    wait_for(host, "buried")
    tries = [line.message for line in host.log_lines() if line.message.startswith("work ")]
    assert [json.loads(line.removeprefix("work "))["try"] for line in tries] == [1, 2]
    assert ("ERROR", "sample", 'buried {"do": "fail"}') in host.log_lines()
    wait_until_empty(queue)


def test_a_message_that_is_no_base64_goes_to_the_poison_queue_and_reaches_no_function(
    start: Callable[..., FunctionsHost], queue: QueueClient
) -> None:
    """At once and as it is, although four more tries are left; white space within base64 is fine."""
    host = start(max_dequeue_count=5, retry_seconds=60)
    queue.send_message("no base64!")
    wait_for(host, "moved to")
    queue.send_message(" " + base64.b64encode(b'{"do": "note"}').decode() + "\n")
    wait_for(host, "in 1 tries")
    wait_until_empty(queue)
    host.stop()
    assert executions(host, "work") == 1
    assert executions(host, "bury") == 0


def test_a_message_in_work_stays_invisible_beyond_its_first_lease(
    start: Callable[..., FunctionsHost], queue: QueueClient
) -> None:
    host = start(lease_seconds=3)
    send(queue, do="note", seconds=5)
    wait_for(host, "Executing 'Functions.work'")
    while "Executed 'Functions.work'" not in host.output():
        assert queue.receive_message() is None
        time.sleep(0.1)
    wait_until_empty(queue)  # hence deleted, with the receipt of the last renewal


def test_a_message_in_work_is_finished_when_the_host_is_asked_to_stop(host: FunctionsHost, queue: QueueClient) -> None:
    send(queue, do="note", seconds=1)
    wait_for(host, "Executing 'Functions.work'")
    send(queue, do="note")
    host.stop()
    assert "Executed 'Functions.work' (Succeeded" in host.output()
    assert executions(host, "work") == 1
    assert queue.get_queue_properties().approximate_message_count == 1


def test_a_message_comes_back_when_its_lease_ends_after_a_crash(
    start: Callable[..., FunctionsHost], queue: QueueClient
) -> None:
    crashing = start(lease_seconds=2)
    send(queue, do="note", seconds=60)
    wait_for(crashing, "Executing 'Functions.work'")
    crashing.kill()
    host = start(lease_seconds=2)
    wait_for(host, "in 2 tries")
    wait_until_empty(queue)


def test_a_message_whose_last_try_crashed_is_given_up_without_another(
    start: Callable[..., FunctionsHost], queue: QueueClient
) -> None:
    crashing = start(lease_seconds=1, max_dequeue_count=1)
    send(queue, do="note", seconds=60)
    wait_for(crashing, "Executing 'Functions.work'")
    crashing.kill()
    host = start(lease_seconds=1, max_dequeue_count=1)
    wait_for(host, "buried")
    assert executions(host, "work") == 0


def test_an_idle_queue_is_polled_less_and_less_often_until_a_message_comes(
    start: Callable[..., FunctionsHost], queue: QueueClient
) -> None:
    assert list(islice(idle_pauses(60), 11)) == [0.2 * 2**n for n in range(9)] + [60, 60]
    assert list(islice(idle_pauses(0), 3)) == [0.2] * 3, "the default"
    host = start(idle_seconds=60)
    send(queue, do="note")
    wait_for(host, "in 1 tries")
    wait_until_empty(queue)


def test_the_environment_wins_over_local_settings(azurite: Azurite, tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"Values": {"SAMPLE_QUEUE": "Not-A-Queue", "SAMPLE_GREETING": "from the file"}}))
    with FunctionsHost(
        app_dir=SAMPLE,
        connection_string=azurite.connection_string,
        environ={"SAMPLE_QUEUE": "sample-settings"},
        settings_file=file,
    ) as host:
        assert requests.get(f"{host.url}/api/open", timeout=SECONDS).text == "GET from the file"


HOST_JSON = (SAMPLE / "host.json").read_text()
HEAD = "import azure.functions as func\napp = func.FunctionApp()\n"
TIMER = "@app.timer_trigger(arg_name='timer', schedule='{}')\ndef {}({}: func.TimerRequest) -> None: ...\n"
ROUTE = "@app.route('{}', methods=['GET'])\ndef {}(req: func.HttpRequest) -> str: return ''\n"
QUEUE = "@app.queue_trigger('message', 'a-queue', 'Other')\ndef work(message: func.QueueMessage) -> None: ...\n"
OUTPUT = "@app.queue_output('out', 'a-queue', 'Other')\n"
PUT = "@app.route('put')\ndef put(req: func.HttpRequest, out: func.Out[str]) -> str: return ''\n"
BLOB = "@app.blob_trigger('blob', 'path', 'Other')\ndef read(blob: func.InputStream) -> None: ...\n"


@pytest.mark.parametrize(
    ("app", "host_json", "message"),
    [
        (HEAD + TIMER.format("%NOT_SET%", "tick", "timer"), HOST_JSON, "function tick: %NOT_SET%"),
        (HEAD + TIMER.format("0 0 3 * * *", "tick", "clock"), HOST_JSON, "clock"),
        (HEAD + TIMER.format("0 0 3 * * *", "tick", "timer") * 2, HOST_JSON, "tick"),
        (HEAD + ROUTE.format("{id:int}", "number"), HOST_JSON, "function number: .*{id:int}"),
        (HEAD + ROUTE.format("a", "one") + ROUTE.format("a", "two"), HOST_JSON, "function two: route /api/a"),
        (HEAD + QUEUE, HOST_JSON, "function work: the app setting Other"),
        (
            HEAD + OUTPUT + ROUTE.format("a", "one").replace("(req", "(out: func.Out[str], req"),
            HOST_JSON,
            "setting Other",
        ),
        (HEAD + QUEUE.replace("Other", "PATH"), HOST_JSON, "function work: queue a-queue: Connection string"),
        (HEAD + BLOB, HOST_JSON, "function read: .*blobTrigger"),
        ("import no_such_module", HOST_JSON, "no_such_module"),
        (HEAD, HOST_JSON, "no functions found"),
        (HEAD, "{}", "batchSize"),
        (HEAD, "{", "host.json is not JSON"),
    ],
)
def test_an_app_that_cannot_be_hosted_stops_the_host_with_the_cause(
    tmp_path: Path, app: str, host_json: str, message: str
) -> None:
    (tmp_path / "function_app.py").write_text(app)
    (tmp_path / "host.json").write_text(host_json)
    with pytest.raises(HostError, match=message):
        FunctionsHost(app_dir=tmp_path, connection_string="").start()


def test_a_storage_account_that_does_not_answer_stops_the_host() -> None:
    nowhere = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;QueueEndpoint=http://127.0.0.1:1/a;"
    host = FunctionsHost(app_dir=SAMPLE, connection_string=nowhere, environ={"SAMPLE_QUEUE": "sample"})
    with pytest.raises(HostError, match=r"127\.0\.0\.1:1"):
        host.start()


def test_the_command_makes_a_key_and_stops_when_asked(azurite: Azurite) -> None:
    environ = {**os.environ, "AzureWebJobsStorage": azurite.connection_string, "SAMPLE_QUEUE": "sample-command"}
    command = [sys.executable, "-m", "local.host", "--port=0", f"--app-dir={SAMPLE}"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE) as process:  # noqa: S603 - see above
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        url = f"{ready['url']}/api/things/a"
        assert requests.get(url, timeout=SECONDS).status_code == 401
        assert requests.get(url, params={"code": ready["key"]}, timeout=SECONDS).status_code == 203
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


PARENT = """
import pathlib, sys, time
from local.host import FunctionsHost
app_dir, connection_string = pathlib.Path(sys.argv[1]), sys.argv[2]
host = FunctionsHost(app_dir=app_dir, connection_string=connection_string, environ={"SAMPLE_QUEUE": "sample-parent"})
host.start()
print(host.pid, flush=True)
time.sleep(60)
"""


def test_the_host_dies_with_the_process_that_started_it(azurite: Azurite) -> None:
    command = [sys.executable, "-c", PARENT, str(SAMPLE), azurite.connection_string]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as parent:  # noqa: S603 - see above
        assert parent.stdout
        host = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([host], SECONDS)
    assert alive == []
