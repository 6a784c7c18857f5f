"""Runs a function app on Microsoft's worker library, in this process."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure_functions_runtime as runtime

from local.host import protos
from local.host.config import LoadError, resolve
from local.host.protos import Message

log = logging.getLogger("local.host")

Binding = Mapping[str, Any]
Send = Callable[["Function", Binding, list[str]], Awaitable[None]]

TRIGGERS = {"httpTrigger", "queueTrigger", "timerTrigger"}
OUTPUTS = {"http", "queue"}


class FunctionFailed(Exception):
    """The function raised an exception, or its result could not be delivered. This has been logged."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the app. Its bindings are as in function.json, with the values of settings filled in."""

    name: str
    id: str
    trigger: Binding
    outputs: tuple[Binding, ...]


async def load(app_dir: Path, environ: Mapping[str, str]) -> list[Function]:
    """Load `function_app.py` and find its functions. Changes this process's working directory and import path.

    Raises:
        LoadError: the app cannot be imported, or a binding is wrong or of a kind that this host does not support.

    """
    os.chdir(app_dir)
    sys.path.insert(0, str(app_dir))
    runtime.start_threadpool_executor()
    init = Message(capabilities={}, function_app_directory=str(app_dir))
    _check(await runtime.worker_init_request(_request(worker_init_request=init)))
    indexed = await runtime.functions_metadata_request(_request())
    _check(indexed)
    if not indexed.function_metadata_results:
        raise LoadError(f"no functions found: is there a function_app.py in {app_dir}?")
    functions = [_function(metadata, environ) for metadata in indexed.function_metadata_results]
    for function in functions:
        _check(await runtime.function_load_request(_request(function_load_request=Message(function_id=function.id))))
    return functions


class Worker:
    """Runs functions, also several at a time, and sends their output messages."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def run(
        self, function: Function, data: Message, metadata: Mapping[str, Message] | None = None, invocation: str = ""
    ) -> Message | None:
        """Run a function to its end. Its output messages are sent only if it returned without an exception.

        Returns its return value, if it has one. Raises FunctionFailed.
        """
        invocation = invocation or str(uuid.uuid4())
        started = time.monotonic()
        log.info("Executing 'Functions.%s' (Id=%s)", function.name, invocation)
        try:
            response = await _invoke(function, invocation, data, metadata or {})
            await self._send_outputs(function, response)
        except Exception as error:
            elapsed = (time.monotonic() - started) * 1000
            cause = error if isinstance(error, FunctionFailed) else f"{type(error).__name__}: {error}"
            log.error(  # noqa: TRY400 - the host's own stack trace does not help
                "Executed 'Functions.%s' (Failed, Id=%s, Duration=%.0fms)\n%s",
                function.name,
                invocation,
                elapsed,
                cause,
            )
            raise FunctionFailed(function.name) from error
        elapsed = (time.monotonic() - started) * 1000
        log.info("Executed 'Functions.%s' (Succeeded, Id=%s, Duration=%.0fms)", function.name, invocation, elapsed)
        value: Message | None = response.return_value
        return value

    async def _send_outputs(self, function: Function, response: Message) -> None:
        values = {output.name: output.data for output in response.output_data}
        values["$return"] = response.return_value
        for binding in function.outputs:
            value = values.get(binding["name"])
            if binding["type"] == "queue" and value is not None:
                await self._send(function, binding, _messages(value))


async def _invoke(function: Function, invocation: str, data: Message, metadata: Mapping[str, Message]) -> Message:
    request = Message(
        invocation_id=invocation,
        function_id=function.id,
        input_data=[protos.ParameterBinding(name=function.trigger["name"], data=data)],
        trigger_metadata=metadata,
        trace_context=Message(trace_parent="", trace_state="", attributes={}),
        retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
    )
    response: Message = await runtime.invocation_request(_request(invocation_request=request))
    if response.result.status != protos.StatusResult.Success:
        raise FunctionFailed(response.result.exception.stack_trace.rstrip())
    return response


def _request(**request: Message) -> Message:
    return Message(request=Message(**request), properties={"host": "127.0.0.1", "protos": protos})


def _check(response: Message) -> None:
    if response.result.status != protos.StatusResult.Success:
        raise LoadError(f"{response.result.exception.message}\n{response.result.exception.stack_trace}")


def _function(metadata: Message, environ: Mapping[str, str]) -> Function:
    bindings = [resolve(json.loads(raw), environ, metadata.name) for raw in metadata.raw_bindings]
    for binding in bindings:
        if binding["type"] not in TRIGGERS | OUTPUTS:
            raise LoadError(f"function {metadata.name}: this host does not support the binding {binding['type']}")
    triggers = [binding for binding in bindings if binding["type"] in TRIGGERS]
    if len(triggers) != 1:
        raise LoadError(f"function {metadata.name} has {len(triggers)} triggers, and must have one")
    outputs = tuple(binding for binding in bindings if binding["type"] in OUTPUTS)
    return Function(metadata.name, metadata.function_id, triggers[0], outputs)


def _messages(value: Message) -> list[str]:
    """The messages of a queue output: one for each item of a JSON array; any other value is one message."""
    text = str(next(iter(vars(value).values())))
    try:
        items = json.loads(text)
    except ValueError:
        return [text]
    if not isinstance(items, list):
        return [text]
    return [item if isinstance(item, str) else json.dumps(item) for item in items]
