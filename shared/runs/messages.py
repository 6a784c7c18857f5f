"""The content of a queue message, as a value."""

import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Self

from shared.days.documents import NOT_OURS, decode, encode
from shared.days.state import Trigger
from shared.errors import InvalidMessage

_WORD = re.compile(r"[0-9A-Za-z_-]{0,64}")


@dataclass(frozen=True, slots=True)
class Order:
    """The request in a queue message. `run_id` is empty if somebody has written the message by hand."""

    day: date
    run_id: str = ""
    trigger: str = Trigger.QUEUE
    replace: bool = False

    def to_message(self) -> str:
        """The message that asks for it."""
        return json.dumps(encode(self))

    @classmethod
    def from_message(cls, text: str) -> Self:
        """What a message asks for. Raises InvalidMessage if it has no date, or has another form."""
        try:
            order = decode(cls, json.loads(text))
            if not (_WORD.fullmatch(order.run_id) and _WORD.fullmatch(order.trigger)):
                raise ValueError("not a word")
        except NOT_OURS as error:
            raise InvalidMessage(
                'A queue message cannot be read. Write it like {"date": "2025-11-04"} (a UTC day), or use '
                "POST /api/exports/{date}. In it, run_id and trigger have at most 64 letters, digits, hyphens and "
                "underscores, and replace is true or false."
            ) from error
        return order
