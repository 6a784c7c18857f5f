"""A small host for Azure Functions in Python (v2 programming model), for machines without Core Tools.

It runs a `function_app.py` in one process on `azure-functions-runtime`, the library of Microsoft's own worker. So
triggers, bindings and messages go through the same code as in Azure. It is for development and tests, not for
production.

It supports:

- HTTP functions with routes and keys, on the loopback interface only;
- queue triggers with visibility, renewal, dequeue count and poison queue, as in Microsoft's own listener. A message
  that is not base64 goes to the poison queue at once and unchanged; from there it is tried without end;
- queue outputs, and `%NAME%` in bindings;
- timers, but only when they are started by hand with `POST /admin/functions/NAME`.

It does not follow a timer's schedule, stop a function after `functionTimeout`, or take several messages at a time. It
does not end if the storage of its queues stops answering. It cannot connect to storage by identity, supports no other
bindings, and takes upper and lower case in paths as different. It polls an idle queue every 0.2 s. With
`--idle-seconds`, the pauses grow to that, as the real host's grow to `maxPollingInterval` in host.json.

    python -m local.host --port 7071                        in a terminal
    with FunctionsHost(app_dir=..., ...) as host: ...       from a test, as a process of its own
"""

from local.host.process import FunctionsHost, HostError, LogLine

__all__ = ["FunctionsHost", "HostError", "LogLine"]
