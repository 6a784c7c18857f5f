"""`python -m cli`."""

from __future__ import annotations

import signal
import sys

from cli.main import main

if __name__ == "__main__":
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: Ctrl-C would only show a traceback of Python's own end
    sys.exit(code)
