"""How a backfill scales out: more and more hosts export the same days from one queue.

As in production, the limit is Amplitude's latency, and not the cores, which emulator, simulator and all hosts share
here.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date, timedelta

import requests

from bench.servers import ROOT
from local.azurite import Azurite
from local.host import FunctionsHost
from local.simulator import Simulator

DAYS = 24
HOSTS = (1, 2, 4)
LATENCY_SECONDS = 2.5
_FIRST = date(2025, 9, 1)
_LAST = _FIRST + timedelta(days=DAYS - 1)
_EMPTY_HOURS = frozenset(range(24)) - {6, 18}
_POLL_SECONDS = 0.25
_TIMEOUT_SECONDS = 600


class NotOnceError(Exception):
    """A day was requested twice, or never."""


def scale_out(on_run: Callable[[int, float], None]) -> dict[int, float]:
    """Seconds from the first message to the last manifest, by number of hosts.

    Raises:
        NotOnceError: a day was not requested exactly once.

    """
    seconds = {}
    for hosts in HOSTS:
        seconds[hosts] = _backfill(hosts)
        on_run(hosts, seconds[hosts])
    return seconds


def _backfill(hosts: int) -> float:
    with ExitStack() as stack:
        azurite = stack.enter_context(Azurite())
        simulator = stack.enter_context(
            Simulator(events_per_hour=20, empty_hours=_EMPTY_HOURS, latency=LATENCY_SECONDS)
        )
        environ = {
            "AMP_API_KEY": simulator.keys[0],
            "AMP_SECRET_KEY": simulator.keys[1],
            "AMP_EXPORT_URL": simulator.url,
            "EXPORT_STORAGE": azurite.connection_string,
            "EXPORT_QUEUE": f"bench-{uuid.uuid4().hex[:12]}",
        }
        started = [
            stack.enter_context(
                FunctionsHost(app_dir=ROOT, connection_string=azurite.connection_string, environ=environ)
            )
            for _ in range(hosts)
        ]
        seconds = _drain(started[0])
        asked = Counter(request.start for request in simulator.requests)
    if len(asked) != DAYS or set(asked.values()) != {1}:
        raise NotOnceError(f"{len(asked)} days were requested, one of them {max(asked.values())} times")
    return seconds


def _drain(host: FunctionsHost) -> float:
    url = f"{host.url}/api/exports?from={_FIRST}&to={_LAST}"
    begun = time.monotonic()
    requests.post(url, headers=host.auth, timeout=_TIMEOUT_SECONDS).raise_for_status()
    while time.monotonic() < begun + _TIMEOUT_SECONDS:
        days = requests.get(url, headers=host.auth, timeout=_TIMEOUT_SECONDS).json()["days"]
        if all(day["status"] == "complete" for day in days):
            return time.monotonic() - begun
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"the backfill did not end:\n{host.output()}")
