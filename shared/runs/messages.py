"""The content of a queue message, as a value."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date

from shared.dates import parse_day
from shared.days.state import Trigger
from shared.errors import InvalidDate, InvalidMessage

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
        return json.dumps(
            {"date": self.day.isoformat(), "run_id": self.run_id, "trigger": self.trigger, "replace": self.replace}
        )

    @classmethod
    def from_message(cls, text: str) -> Order:
        """What a message asks for.

        Raises:
            InvalidMessage: it is no JSON object with a date, or has fields of other types.

        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidMessage(
                'A queue message is not JSON. Write it like {"date": "2025-11-04"}, or use POST /api/exports/{date}.'
            ) from error
        if not isinstance(document, dict):
            raise InvalidMessage("A queue message is not a JSON object.")
        day, run_id = document.get("date"), document.get("run_id") or ""
        trigger, replacing = document.get("trigger") or Trigger.QUEUE, document.get("replace") or False
        if not (isinstance(day, str) and isinstance(run_id, str) and isinstance(trigger, str)):
            raise InvalidMessage("A queue message needs a date, and text in date, run_id and trigger.")
        if not isinstance(replacing, bool):
            raise InvalidMessage("In a queue message, replace is true or false.")
        if not (_WORD.fullmatch(run_id) and _WORD.fullmatch(trigger)):
            raise InvalidMessage(
                "In a queue message, run_id and trigger have at most 64 letters, digits, hyphens and underscores."
            )
        try:
            return cls(parse_day(day), run_id, trigger, replacing)
        except InvalidDate as error:
            raise InvalidMessage(f"A queue message cannot be carried out: {error}") from error
