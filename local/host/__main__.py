"""The host as a command: `python -m local.host`. Prints one JSON line on stdout when it is ready; logs go to stderr."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
import signal
import sys
import threading
from pathlib import Path

from aiohttp import web
from azure.core.exceptions import AzureError

from local.host.config import LoadError, QueueRules, add_local_settings, load_host_config
from local.host.process import KEY_VARIABLE, log_format
from local.host.queues import Queues, QueueTrigger
from local.host.web import make_app
from local.host.worker import Worker, load

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 5
"""How long HTTP and queue functions may go on after the host was told to stop. A cut-off message comes back."""


def main() -> None:
    """Host the app until a signal comes. Exit code 1: it could not be loaded."""
    options = _options()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(log_format())
    logging.basicConfig(level=logging.INFO, handlers=[handler])  # the real worker's level
    # The library's own log. The host reports failures itself.
    logging.getLogger("azure.functions").setLevel(logging.CRITICAL)
    if options.until_eof:
        threading.Thread(target=_die_at_eof, daemon=True).start()
    try:
        asyncio.run(_serve(options))
        code = 0
    except (LoadError, AzureError, OSError) as error:
        logging.getLogger("local.host").error("Cannot host %s: %s", options.app_dir, error)  # noqa: TRY400 - the message is enough
        code = 1
    sys.stderr.flush()
    os._exit(code)  # a normal exit would wait for a function that is still running


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app_dir = options.app_dir.resolve()
    config = load_host_config(app_dir)
    if options.settings.name and (app_dir / options.settings).exists():
        add_local_settings(os.environ, app_dir / options.settings)
    rules = QueueRules(
        lease_seconds=options.lease_seconds,
        retry_seconds=config.retry_seconds if options.retry_seconds is None else options.retry_seconds,
        max_dequeue_count=options.max_dequeue_count or config.max_dequeue_count,
        idle_seconds=options.idle_seconds,
    )
    async with Queues(os.environ) as queues:
        functions = await load(app_dir, os.environ)
        queues.check(functions)
        worker = Worker(queues.send)
        triggers = [QueueTrigger(f, queues, rules, worker) for f in functions if f.trigger["type"] == "queueTrigger"]
        for trigger in triggers:
            await trigger.create()
        runner = web.AppRunner(
            make_app(functions, worker, route_prefix=config.route_prefix, key=options.key),
            access_log=None,
            shutdown_timeout=GRACE_SECONDS,
        )
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, options.port).start()
        port = runner.addresses[0][1]
        ready = {"url": f"http://{LOOPBACK}:{port}", "key": options.key, "functions": [f.name for f in functions]}
        print(json.dumps(ready), flush=True)
        await _run_until(stop, [asyncio.create_task(trigger.poll(stop)) for trigger in triggers])
        await runner.cleanup()


async def _run_until(stop: asyncio.Event, pollers: list[asyncio.Task[None]]) -> None:
    """Wait for `stop`, then a while for running messages. If a poller ends earlier, raise its error."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, *pollers], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    if pollers:
        done, _ = await asyncio.wait(pollers, timeout=GRACE_SECONDS)
        for poller in done:
            poller.result()


def _die_at_eof() -> None:
    """End this process as soon as the process at the other end of stdin ends for any reason."""
    sys.stdin.buffer.read()
    os._exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.host", description=f"Hosts a function app here. {KEY_VARIABLE}: the host key, if set."
    )
    parser.add_argument("--port", type=int, default=7071, help="on the loopback interface; 0 takes a free one")
    parser.add_argument("--app-dir", type=Path, default=Path(), help="where function_app.py and host.json are")
    parser.add_argument(
        "--settings",
        type=Path,
        default=Path("local.settings.json"),
        help="file in the app's folder whose values stand in for unset app settings; empty for none",
    )
    parser.add_argument("--lease-seconds", type=int, default=600, help="how long a message in hand stays hidden")
    parser.add_argument("--retry-seconds", type=int, help="pause between tries, instead of host.json's")
    parser.add_argument("--max-dequeue-count", type=int, help="tries, instead of host.json's")
    parser.add_argument("--idle-seconds", type=float, default=0, help="longest pause between polls of an idle queue")
    parser.add_argument("--until-eof", action="store_true", help="die when stdin ends")
    options = parser.parse_args()
    options.key = os.environ.pop(KEY_VARIABLE, "") or secrets.token_urlsafe(24)
    return options


if __name__ == "__main__":
    main()
