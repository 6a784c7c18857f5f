"""The host's HTTP side: routes and keys of the app's functions, and timers fired by hand."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from aiohttp import web
from multidict import MultiMapping

from local.host import protos
from local.host.config import LoadError
from local.host.protos import Message
from local.host.worker import Function, FunctionFailed, Worker

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 100 * 2**20
INVOCATION_HEADER = "x-ms-invocation-id"


def make_app(functions: Sequence[Function], worker: Worker, *, route_prefix: str, key: str) -> web.Application:
    """Create the routes of the app's HTTP functions, and `POST /admin/functions/{name}` for its timers.

    Raises:
        LoadError: a route is malformed, is used twice, or has a parameter other than `{name}` or a last `{name?}`.

    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_no_such_method])
    guard = _Guard(key)
    for function in functions:
        if function.trigger["type"] != "httpTrigger":
            continue
        handler = _http_handler(function, worker)
        if function.trigger.get("authLevel", "FUNCTION").upper() != "ANONYMOUS":
            handler = guard(handler)
        for method in function.trigger.get("methods") or ["*"]:
            for route in _routes(function):
                path = "/".join(["", *filter(None, (route_prefix, route))])
                try:
                    app.router.add_route(method, path, handler)
                except (ValueError, RuntimeError) as error:
                    raise LoadError(f"function {function.name}: route {path}: {error}") from error
    timers = {function.name: function for function in functions if function.trigger["type"] == "timerTrigger"}
    app.router.add_route("POST", "/admin/functions/{name}", guard(_timer_handler(timers, worker)))
    return app


class _Guard:
    """Accepts only requests that have the host key, in a header or in the address."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def __call__(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            given = request.headers.get("x-functions-key") or request.query.get("code", "")
            if not hmac.compare_digest(given.encode(), self._key):
                return web.Response(status=401)
            return await handler(request)

        return guarded


@web.middleware
async def _no_such_method(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers 404 for a known route with another method, like the real host (azure-functions-host #10098)."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed:
        return web.Response(status=404)


def _routes(function: Function) -> list[str]:
    """The paths of a function. If the last segment is optional, as in `things/{name?}`, there are two."""
    route: str = (function.trigger.get("route") or function.name).strip("/")
    without, _, last = route.rpartition("/")
    if re.fullmatch(r"\{\w+\?\}", last):
        return [without, f"{without}/{last.replace('?', '')}"]
    if re.search(r"\{[^}]*[^\w}][^}]*\}", route):
        raise LoadError(f"function {function.name}: this host supports only {{name}} in a route, not {route}")
    return [route]


def _http_handler(function: Function, worker: Worker) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        http = protos.RpcHttp(
            method=request.method,
            url=str(request.url),
            headers={name.lower(): value for name, value in _joined(request.headers).items()},
            query=_joined(request.query),
            params=dict(request.match_info),
            body=protos.TypedData(bytes=await request.read()),
        )
        try:
            return _response(await worker.run(function, protos.TypedData(http=http)))
        except FunctionFailed:
            return web.Response(status=500)

    return handle


def _joined(values: MultiMapping[str]) -> dict[str, str]:
    """One string for each name, as functions get it: several values are joined by commas."""
    return {name: ",".join(values.getall(name)) for name in values}


def _response(value: Message | None) -> web.Response:
    if value is None:
        return web.Response(status=204)
    if value.WhichOneof("data") == "http":
        http = value.http
        return web.Response(status=int(http.status_code), headers=http.headers, body=http.body.bytes)
    return web.Response(text=str(next(iter(vars(value).values()))))


def _timer_handler(timers: dict[str, Function], worker: Worker) -> Handler:
    running: set[asyncio.Task[None]] = set()  # otherwise nothing would keep a reference to them

    async def run(function: Function, timer: dict[str, object], invocation: str) -> None:
        with suppress(FunctionFailed):  # logged
            await worker.run(function, protos.TypedData(json=json.dumps(timer)), invocation=invocation)

    async def fire(request: web.Request) -> web.Response:
        function = timers.get(request.match_info["name"])
        if function is None:
            return web.Response(status=404)
        try:
            given = (await request.json())["input"] or "{}"
            timer = {"IsPastDue": False, "Schedule": {}, "ScheduleStatus": {}} | json.loads(given)
        except (ValueError, KeyError, TypeError):
            return web.Response(status=400, text='The body must be {"input": ""}, or hold a timer\'s JSON as input.')
        invocation = str(uuid.uuid4())
        task = asyncio.create_task(run(function, timer, invocation))
        running.add(task)
        task.add_done_callback(running.discard)
        return web.Response(status=202, headers={INVOCATION_HEADER: invocation})

    return fire
