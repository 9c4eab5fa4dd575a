"""`python -m benchmarks.server ARRIVALS …`: the Qlik stand-in, noting when each start arrives."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from butler_mqtt.simulator import site
from butler_mqtt.simulator.__main__ import options
from butler_mqtt.simulator.call_log import CallLog, CallRecord
from butler_mqtt.simulator.serving import serve


def noting(arrivals: Path) -> type[CallLog]:
    """Give a record of calls that writes a line with monotonic nanoseconds and path for each POST."""
    file = os.open(arrivals, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    class NotingCalls(CallLog):
        def begin(self, time_: str, method: str, path: str, query: str) -> CallRecord:
            if method == "POST":
                os.write(file, f"{time.monotonic_ns()} {path}\n".encode())
            return super().begin(time_, method, path, query)

    return NotingCalls


if __name__ == "__main__":
    site.CallLog = noting(Path(sys.argv[1]))  # type: ignore[attr-defined] # the site offers no seam for it
    sys.exit(serve(options(sys.argv[2:])))
