"""A real Chromium, and what its pages are served by: rendered samples, or the app in its host."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, Request, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PICTURES, LOOKS = ROOT / "docs" / "images", ROOT / ".run" / "screenshots"
KEPT = bool(os.environ.get("UPDATE_SCREENSHOTS"))
MATPLOTLIB = Path(str(distribution("matplotlib").locate_file("matplotlib")))
UNPACKED = Path(__file__).parent / "node_modules" / ".unpacked"
FLAGS = [
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
expect.set_options(timeout=60_000)  # milliseconds; the default of five seconds is not enough on a busy machine

Rendered = tuple[str, Mapping[str, str]]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium: the one that `local/setup.sh` unpacked, or the one that CHROMIUM names."""
    executable = Path(os.environ.get("CHROMIUM", UNPACKED / "chromium"))
    if not executable.is_file():
        pytest.fail(f"{executable} is missing: run local/setup.sh, or set CHROMIUM to a Chromium's path")
    fonts = tmp_path_factory.mktemp("fonts")
    (fonts / "fonts.conf").write_text(_font_config(fonts), "utf-8")
    own = {"LD_LIBRARY_PATH": str(UNPACKED / "al2023" / "lib"), "FONTCONFIG_FILE": str(fonts / "fonts.conf")}
    env: dict[str, str | float | bool] = {**os.environ, **({} if "CHROMIUM" in os.environ else own)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS, env=env)
        yield browser
        browser.close()


def _font_config(cache: Path) -> str:
    # The browser's package has one family, matplotlib brings one with fixed width: the same on each machine.
    folders = (UNPACKED / "fonts", MATPLOTLIB / "mpl-data" / "fonts" / "ttf")
    families = (("system-ui", "Open Sans"), ("sans-serif", "Open Sans"), ("ui-monospace", "DejaVu Sans Mono"))
    return (
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        + "".join(f"<dir>{folder}</dir>" for folder in folders)
        + f"<cachedir>{cache}</cachedir>"
        + "".join(
            f"<alias><family>{name}</family><prefer><family>{font}</family></prefer></alias>" for name, font in families
        )
        + "</fontconfig>"
    )


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens addresses, each in a context of its own; options as for `Browser.new_context`.

    In the end nothing may have gone wrong in any of them, nor may one have asked another server for anything,
    or told one from where it came.
    """
    pages: list[Page] = []
    wrong: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        # An answer of 409 or the like is told on the console too; tests look at those themselves.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            wrong.append(message.text)

    def on_dialog(dialog: Dialog) -> None:
        wrong.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def on_request(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:")) or request.headers.get("referer"):
            wrong.append(f"{request.url} {request.headers.get('referer')}")

    def open_page(url: str, **options: Any) -> Page:
        page = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options).new_page()
        pages.append(page)
        page.on("console", on_console)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", on_dialog)
        page.on("request", on_request)
        page.goto(url)
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert wrong == []


@pytest.fixture
def serve() -> Iterator[Callable[[Rendered], str]]:
    """Serves a rendered page on a port of its own; returns its address. Any other address is not there."""
    servers: list[ThreadingHTTPServer] = []

    def serve(rendered: Rendered) -> str:
        html, headers = rendered

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.partition("?")[0].rstrip("/") == "/api/exports"
                self.send_response(200 if found else 404)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(html.encode() if found else b"")

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/api/exports"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Takes a picture of a page, and keeps it where UPDATE_SCREENSHOTS is set: for the documentation, or to look at."""

    def take(page: Page, name: str, **options: Any) -> bytes:
        folder = PICTURES if name.startswith("coverage-") else LOOKS
        path = folder / f"{name}.png" if KEPT else None
        try:
            return page.screenshot(path=path, animations="disabled", **options)
        except Error:  # drawn without a GPU on a busy machine, a frame gets lost now and then
            return page.screenshot(path=path, animations="disabled", **options)

    return take
