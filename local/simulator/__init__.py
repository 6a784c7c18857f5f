r"""A simulator of Amplitude's Export API: real sockets, deterministic events, faults on demand.

with Simulator(events_per_hour=50, parts=2, empty_hours={3, 4}) as simulator:
    simulator.put(date(2025, 11, 4), hour=0, part=0, raw=b'{"uuid":"1"}\n')
    simulator.fail(Fault(status=503), Fault(cut=5000, reset=True))
    ...  # ask simulator.url; the first request gets 503, the second is cut, the third is good
    assert [request.status for request in simulator.requests] == [503, 200, 200]
"""

from local.simulator.answers import Asked
from local.simulator.archive import Archive, Entry, Form, Payload
from local.simulator.faults import Fault, Gate, answered, http_date, page, redirect, too_many_requests
from local.simulator.simulator import EVENTS_PER_HOUR, Request, Simulator

__all__ = [
    "EVENTS_PER_HOUR",
    "Archive",
    "Asked",
    "Entry",
    "Fault",
    "Form",
    "Gate",
    "Payload",
    "Request",
    "Simulator",
    "answered",
    "http_date",
    "page",
    "redirect",
    "too_many_requests",
]
