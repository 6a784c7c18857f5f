"""What the app adds to the import time of its SDKs. A cold start waits for both."""

from __future__ import annotations

import subprocess
import sys

from bench.servers import ROOT

_SDKS = "import azure.functions, azure.storage.blob, azure.core.pipeline.transport, isal.igzip_lib, requests"
_APP = "import function_app"
_TIMED = "import time; t = time.process_time(); {}; print(time.process_time() - t)"


def import_ratio(rounds: int) -> float:
    """The processor time to import `function_app`, divided by that to import its SDKs: the best of each."""
    pairs = [(_seconds(_APP), _seconds(_SDKS)) for _ in range(rounds + 1)]  # the first one compiles
    return min(app for app, _ in pairs) / min(sdks for _, sdks in pairs)


def libraries_beside_the_sdks() -> set[str]:
    """The packages outside the standard library that `function_app` imports and its SDKs do not."""
    return {name for name in _modules(_APP) - _modules(_SDKS) if not name.startswith(("function_app", "shared"))}


def _modules(statement: str) -> set[str]:
    """The imported packages, each by the first part of its name; those of Azure by the first three."""
    names = _output(f"import sys; {statement}; print(*sys.modules)").split()
    packages = {".".join(name.split(".")[: 3 if name.startswith("azure.") else 1]) for name in names}
    return packages - sys.stdlib_module_names


def _seconds(statement: str) -> float:
    return float(_output(_TIMED.format(statement)))


def _output(statements: str) -> str:
    return subprocess.run(  # noqa: S603 - this interpreter, and statements from above
        [sys.executable, "-c", statements], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True
    ).stdout
