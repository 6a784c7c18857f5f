"""A function app that says what it was given: for the tests of the local host by itself."""

import json
import logging
import os
import time
from typing import List  # noqa: UP035 - the worker library takes Out[List[str]] and refuses Out[list[str]]

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
log = logging.getLogger("sample")


@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *", use_monitor=True, run_on_startup=False)
@app.queue_output(arg_name="messages", queue_name="%SAMPLE_QUEUE%", connection="AzureWebJobsStorage")
def tick(timer: func.TimerRequest, messages: func.Out[List[str]]) -> None:  # noqa: UP006 - see above
    """Put two messages out."""
    log.info("tick past_due=%s", timer.past_due)
    messages.set([json.dumps({"do": "note", "n": n}) for n in range(2)])


@app.route("things/{name}", methods=["POST"])
@app.queue_output(arg_name="message", queue_name="%SAMPLE_QUEUE%", connection="AzureWebJobsStorage")
def put(req: func.HttpRequest, message: func.Out[str]) -> func.HttpResponse:
    """Queue the body as it is; `fail=1` fails after that."""
    message.set(req.get_body().decode())
    if "fail" in req.params:
        raise RuntimeError("a secret detail")
    return func.HttpResponse(status_code=202, headers={"Location": f"/things/{req.route_params['name']}"})


@app.route("things/{name}", methods=["GET"])
def show(req: func.HttpRequest) -> func.HttpResponse:
    """Answer with the request."""
    seen = {
        "method": req.method,
        "url": req.url,
        "params": dict(req.params),
        "route": dict(req.route_params),
        "accept": req.headers.get("Accept"),
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json", status_code=203)


@app.route("open", auth_level=func.AuthLevel.ANONYMOUS)
def anyone(req: func.HttpRequest) -> str:
    """Open to all, by any method."""
    return f"{req.method} {os.environ.get('SAMPLE_GREETING', 'unset')}"


@app.queue_trigger(arg_name="message", queue_name="%SAMPLE_QUEUE%", connection="AzureWebJobsStorage")
def work(message: func.QueueMessage) -> None:
    """Log the message; fail, or take long at the first try, if it says so."""
    log.info(
        "work %s", json.dumps({"id": message.id, "try": message.dequeue_count, "body": message.get_body().decode()})
    )
    order = message.get_json()
    if message.dequeue_count == 1:
        time.sleep(order.get("seconds", 0))
    if order["do"] == "fail":
        raise RuntimeError("as told")
    log.info("worked %s\nin %s tries", message.id, message.dequeue_count)


@app.queue_trigger(arg_name="message", queue_name="%SAMPLE_QUEUE%-poison", connection="AzureWebJobsStorage")
def bury(message: func.QueueMessage) -> None:
    """Log a message that was given up."""
    log.error("buried %s", message.get_body().decode())
