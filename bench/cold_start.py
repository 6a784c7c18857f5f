"""What the app adds to the import of its SDKs: a cold start waits for both."""

from __future__ import annotations

import subprocess
import sys

from bench.servers import ROOT

_SDKS = "import azure.functions, azure.storage.blob, azure.core.pipeline.transport, isal.igzip_lib, requests"
_APP = "import function_app"
_TIMED = "import time; t = time.process_time(); {}; print(time.process_time() - t)"


def import_ratio(rounds: int) -> float:
    """How many times the processor time of its SDKs the import of `function_app` takes: the best of each."""
    pairs = [(_seconds(_APP), _seconds(_SDKS)) for _ in range(rounds + 1)]  # the first one compiles
    return min(app for app, _ in pairs) / min(sdks for _, sdks in pairs)


def _seconds(statement: str) -> float:
    done = subprocess.run(  # noqa: S603 - this very interpreter, and a statement made above
        [sys.executable, "-c", _TIMED.format(statement)], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return float(done.stdout)
