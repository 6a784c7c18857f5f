"""The project, as its command line runs it: from settings to a manifest."""

from __future__ import annotations

import logging
import os
from datetime import date

from shared.app import open_app
from shared.runs.messages import Order

logging.getLogger("amplitude_export").addHandler(logging.NullHandler())


def export(day: date) -> int:
    """Export the day."""
    with open_app(os.environ) as app:
        return app.runs.run_now(Order(day, trigger="cli")).total_bytes
