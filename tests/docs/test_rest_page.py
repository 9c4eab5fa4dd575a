"""The table of statuses in rest.md is that of the code."""

from __future__ import annotations

import re

from butler_mqtt.http.error_responses import STATUS
from tests.project import ROOT


def test_every_status_of_the_table_is_that_of_its_code() -> None:
    text = (ROOT / "docs/rest.md").read_text("utf-8").partition("## Statuses")[2].partition("\n## ")[0]
    documented: dict[str, int] = {}
    for row in re.findall(r"^\| (\d{3}) \| (.*?) \|", text, re.MULTILINE):
        documented |= {code: int(row[0]) for code in re.findall(r"`(\w+)`", row[1])}
    assert documented == dict(STATUS)
