"""A small host for Azure Functions in Python (v2 programming model), for machines without Core Tools.

It runs a `function_app.py` in one process on `azure-functions-runtime`, the library that Microsoft's own worker is made
of, so that triggers, bindings and messages meet the code that they meet in Azure. It is made for development and
tests, not for production.

What it does: HTTP functions with routes and keys, on the loopback interface only; queue triggers with visibility,
renewal, dequeue count and poison queue, as Microsoft's own listener treats them (what is not base64 goes to the poison
queue at once and as it is; there a message is tried without end); queue outputs; `%NAME%` in bindings; timers
fired by hand, by `POST /admin/functions/NAME`.

What it does not: follow a timer's schedule; end a function that runs beyond `functionTimeout`; take several messages
at a time; wait up to a minute before it polls an idle queue again (it waits 0.2 s); end when the storage of its queues
stays away; connect to storage by identity; match paths without regard to case; know any other binding.

    python -m local.host --port 7071                        in a terminal
    with FunctionsHost(app_dir=..., ...) as host: ...       from a test, as a process of its own
"""

from local.host.process import FunctionsHost, HostError, LogLine

__all__ = ["FunctionsHost", "HostError", "LogLine"]
