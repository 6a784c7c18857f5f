"""A small host for Azure Functions in Python (v2 programming model), for machines without Core Tools.

It runs a `function_app.py` in one process on `azure-functions-runtime`, the library that Microsoft's own worker is made
of, so that triggers, bindings and messages meet the code that they meet in Azure. It is made for development and
tests, not for production.

What it does: HTTP functions with routes and keys, on the loopback interface only; queue triggers with visibility,
dequeue count and poison queue; queue outputs; `%NAME%` in bindings; timers fired by hand, by
`POST /admin/functions/NAME`.

What it does not: follow a timer's schedule; end a function that runs beyond `functionTimeout`; take several messages
at a time; connect to storage by identity; match paths without regard to case; know any other binding.

    python -m local.host --port 7071                        in a terminal
    with FunctionsHost(app_dir=..., ...) as host: ...       from a test, as a process of its own
"""

from local.host.process import FunctionsHost, HostError, LogLine

__all__ = ["FunctionsHost", "HostError", "LogLine"]
