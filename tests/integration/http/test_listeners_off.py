"""REST costs nothing while it is off."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_of_a_web_server_is_loaded_while_both_listeners_are_off() -> None:
    code = (
        "import sys, butler_mqtt.daemon\n"
        "print([name for name in ('starlette', 'uvicorn', 'prometheus_client', 'cryptography')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
