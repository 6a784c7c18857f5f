"""How the host handles a storage queue: take a message, hold it, finish it, try it again, or give it up."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from local.host import protos
from local.host.config import LoadError, QueueRules, connection_string
from local.host.protos import Message
from local.host.worker import Binding, Function, FunctionFailed, Worker

log = logging.getLogger("local.host")

POLL_SECONDS = 0.2
POISON = "-poison"

# The app runs in the same process, and the host's own requests must not fill its log.
_quiet = logging.Logger("local.host.requests", logging.WARNING)  # noqa: LOG001 - outside the hierarchy, so that nothing prints it


class Queues:
    """The queues of the app's bindings. A missing queue is created when it is needed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._clients: dict[tuple[str, str], QueueClient] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.close()

    def check(self, functions: Iterable[Function]) -> None:
        """Check whether this host can serve all queue bindings.

        Raises:
            LoadError: the storage account of one is missing or malformed.

        """
        for function in functions:
            for binding in (function.trigger, *function.outputs):
                if binding["type"] in ("queueTrigger", "queue"):
                    self.client(function, binding)

    def client(self, function: Function, binding: Binding, suffix: str = "") -> QueueClient:
        """The queue of a binding; with `suffix`, the queue with that ending, such as its poison queue."""
        account = connection_string(binding, self._environ, function.name)
        name = binding["queueName"] + suffix
        if (account, name) not in self._clients:
            try:
                self._clients[account, name] = QueueClient.from_connection_string(
                    account, name, logger=_quiet, initial_backoff=1, retry_total=1
                )
            except ValueError as error:
                raise LoadError(f"function {function.name}: queue {name}: {error}") from error
        return self._clients[account, name]

    async def send(self, function: Function, binding: Binding, texts: list[str]) -> None:
        """Send the messages that a function put into an output binding, as base64."""
        for text in texts:
            await _send(self.client(function, binding), base64.b64encode(text.encode()).decode())


class QueueTrigger:
    """Passes the messages of one queue to one function."""

    def __init__(self, function: Function, queues: Queues, rules: QueueRules, worker: Worker) -> None:
        self._function = function
        self._rules = rules
        self._worker = worker
        self._queue = queues.client(function, function.trigger)
        is_poison = self._queue.queue_name.endswith(POISON)
        self._poison = None if is_poison else queues.client(function, function.trigger, POISON)

    async def poll(self, stop: asyncio.Event) -> None:
        """Take one message after the other until `stop` is set. If the storage does not answer, try again."""
        pauses = idle_pauses(self._rules.idle_seconds)
        while not stop.is_set():
            try:
                message = await self._queue.receive_message(visibility_timeout=self._rules.lease_seconds)
            except ResourceNotFoundError:
                await self.create()
                continue
            except AzureError as error:
                log.warning("Queue %s: %s", self._queue.queue_name, error)
                message = None
            if message is None:
                await _is_set_within(stop, next(pauses))
            else:
                await self._work(message)
                pauses = idle_pauses(self._rules.idle_seconds)

    async def create(self) -> None:
        """Create the queue if it does not exist."""
        await _create(self._queue)

    async def _work(self, message: QueueMessage) -> None:
        try:
            async with self._held(message):
                succeeded = await self._succeeds(message)
            if succeeded:
                await self._queue.delete_message(message)
            else:
                await self._try_again_or_give_up(message)
        except AzureError as error:  # it becomes visible again by itself
            log.warning("Queue %s, message %s: %s", self._queue.queue_name, message.id, error)

    async def _succeeds(self, message: QueueMessage) -> bool:
        if self._poison and (message.dequeue_count or 0) > self._rules.max_dequeue_count:
            return False  # the host died at each of its tries
        try:
            text = _decoded(message).decode()
        except ValueError:
            log.error("Queue %s, message %s is not base64 text", self._queue.queue_name, message.id)  # noqa: TRY400 - known
            return False
        try:
            await self._worker.run(self._function, protos.TypedData(string=text), _metadata(message, text))
        except FunctionFailed:
            return False
        return True

    async def _try_again_or_give_up(self, message: QueueMessage) -> None:
        if self._poison is None:
            return  # like the real host: the message stays hidden for its time, and is then tried again, without end
        if _is_base64(message) and (message.dequeue_count or 0) < self._rules.max_dequeue_count:
            await self._queue.update_message(message, visibility_timeout=self._rules.retry_seconds)
            return
        log.warning("Message %s has reached MaxDequeueCount: moved to %s", message.id, self._poison.queue_name)
        await _send(self._poison, message.content)
        await self._queue.delete_message(message)

    @asynccontextmanager
    async def _held(self, message: QueueMessage) -> AsyncIterator[None]:
        """Keep a message hidden: renew it whenever half of its time is over, and keep `pop_receipt` up to date."""
        done = asyncio.Event()
        renewal = asyncio.create_task(self._renew(message, done))
        try:
            yield
        finally:
            done.set()
            await renewal  # not cancelled, because the new receipt of a running request would be lost

    async def _renew(self, message: QueueMessage, done: asyncio.Event) -> None:
        while not await _is_set_within(done, self._rules.lease_seconds / 2):
            try:
                renewed = await self._queue.update_message(message, visibility_timeout=self._rules.lease_seconds)
                message.pop_receipt = renewed.pop_receipt
            except AzureError as error:
                log.warning("Queue %s, message %s not renewed: %s", self._queue.queue_name, message.id, error)


def idle_pauses(longest: float) -> Iterator[float]:
    """The pauses between looks into an empty queue, in seconds: each twice the last one, up to the longest."""
    seconds = POLL_SECONDS
    while True:
        yield seconds
        seconds = max(POLL_SECONDS, min(seconds * 2, longest))


def _decoded(message: QueueMessage) -> bytes:
    """The decoded bytes of a message. Base64 may contain white space. Raises ValueError if it is not base64."""
    return base64.b64decode("".join(message.content.split()), validate=True)


def _is_base64(message: QueueMessage) -> bool:
    """Whether the listener can decode a message. The real one moves any other to the poison queue at once."""
    try:
        _decoded(message)
    except ValueError:
        return False
    return True


async def _send(queue: QueueClient, content: str) -> None:
    try:
        await queue.send_message(content)
    except ResourceNotFoundError:
        await _create(queue)
        await queue.send_message(content)


async def _create(queue: QueueClient) -> None:
    try:
        await queue.create_queue()
    except AzureError as error:
        if getattr(error, "error_code", None) != "QueueAlreadyExists":
            raise


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _metadata(message: QueueMessage, text: str) -> dict[str, Message]:
    """The metadata that the host passes with a message, each value as JSON."""
    times = {
        "InsertionTime": message.inserted_on,
        "ExpirationTime": message.expires_on,
        "NextVisibleTime": message.next_visible_on,
    }
    values = {
        "Id": message.id,
        "DequeueCount": message.dequeue_count,
        "PopReceipt": message.pop_receipt,
        "QueueTrigger": text,
    } | {name: moment.isoformat() for name, moment in times.items() if moment is not None}
    return {name: protos.TypedData(json=json.dumps(value)) for name, value in values.items()}
