"""Reports messages in the poison queue that the host cannot decode, because it passes those to no function."""

import base64
import time
from collections.abc import Callable

from shared.days.status import RunError
from shared.runs.runs import log_failed
from shared.storage.queue import Queue

SETTLE_SECONDS = 5
"""Within this time, a message that can be decoded has been handled and is gone."""


def report_undecodable(queue: Queue, sleep: Callable[[float], None] = time.sleep) -> None:
    """Log one ERROR for each message that the host cannot decode.

    The host reads such a message every ten minutes and hides it in between. A hidden message can only be counted.
    """
    shown, hidden = queue.look()
    for message_id in (message_id for message_id, text in shown if not is_decodable(text)):
        _log(f"Message {message_id} in the queue {queue.name} is not base64 text, so the host cannot hand it over.")
    if hidden:
        sleep(SETTLE_SECONDS)
        hidden = min(hidden, queue.look()[1])
    for _ in range(hidden):
        _log(f"The host holds a message of the queue {queue.name} and cannot finish it: it is not base64 text.")


def is_decodable(text: str) -> bool:
    """Whether the host passes a message to its function: base64 of UTF-8 text, with or without white space."""
    try:
        base64.b64decode("".join(text.split()), validate=True).decode()
    except ValueError:
        return False
    return True


def _log(what: str) -> None:
    log_failed(RunError("InvalidMessage", f"{what} Clear the queue, and send the messages that you still need again."))
