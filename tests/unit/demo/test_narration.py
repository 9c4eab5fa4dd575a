"""The tour on a terminal of 80 columns."""

from __future__ import annotations

import re
import sys

from tests.terminals import on_terminal

GUID = "a8b4c123-def4-5678-9abc-def012345678"
SENTENCE = "a long word at the end of each line would be broken " * 4
SCRIPT = f"""
from butler_mqtt.demo.narration import Narration
narration = Narration()
narration.chapter("Title", "{SENTENCE}")
narration.published("topic", '{{"taskId": ["{GUID}", "{GUID}"]}}')
narration.replied({{"tasksStarted": [{{"taskId": "{GUID}", "executionId": "{GUID}"}}]}}, 1.0)
narration.action("{SENTENCE}")
narration.right("{SENTENCE}")
"""


def test_the_tour_breaks_no_word_on_a_terminal_of_80_columns() -> None:
    shown = re.sub(r"\x1b\[[\d;]*m", "", on_terminal([sys.executable, "-c", SCRIPT]))
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count(GUID) == 4
    assert set(SENTENCE.split()) <= set(shown.split())
