"""What the fork server of `tests.programs` imports once: what most programs of the tests need."""

from __future__ import annotations

import gc
import importlib

for module in (
    "butler_mqtt.checks.qlik",
    "butler_mqtt.cli.main",
    "butler_mqtt.cli.requests_list",
    "butler_mqtt.cli.start_wait",
    "butler_mqtt.config.loader",
    "butler_mqtt.daemon.daemon",
    "butler_mqtt.http.application",
    "butler_mqtt.journal.sqlite",
    "butler_mqtt.simulator.serving",
    "encodings.utf_8_sig",
    "prometheus_client",
    "rich.live",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvicorn.lifespan.off",
):
    importlib.import_module(module)

# Else each copy's first collection of garbage would write to, and so copy, every page.
gc.freeze()
