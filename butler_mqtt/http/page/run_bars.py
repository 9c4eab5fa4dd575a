"""The last runs of a task as a drawing: a bar for each, as high as it took long, with its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from butler_mqtt.http.page.wording import duration, moment

#: Runs for which there is room; pixels of a bar with its gap, of the tallest bar, of the marks below.
ROOM, STEP, TALLEST, MARKS = 10, 11, 28, 8
_SHORTEST = 3
_GOOD, _BUSY = frozenset({"succeeded"}), frozenset({"planned", "waiting", "running"})


def run_bars(runs: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw *runs*, entries of `lastRuns`, the newest first; the newest is drawn on the right."""
    shown = list(reversed(runs[:ROOM]))
    longest = max(map(_took, shown), default=0) or 1
    left = (ROOM - len(shown)) * STEP
    bars = [_bar(run, left + number * STEP, longest) for number, run in enumerate(shown)]
    words = ", ".join(
        f"{count} {name}"
        for name in dict.fromkeys(_outcome(run) for run in shown)
        for count in [sum(_outcome(run) == name for run in shown)]
    )
    ground = TALLEST + 0.5
    return Markup(  # noqa: S704 -- every text in it is escaped
        f'<svg class="runs" viewBox="0 0 {ROOM * STEP} {TALLEST + MARKS}" width="{ROOM * STEP}" '
        f'height="{TALLEST + MARKS}" role="img" aria-label="Last runs: {escape(words or "none")}">'
        f'<line class="ground" x1="0" x2="{ROOM * STEP}" y1="{ground}" y2="{ground}"/>{"".join(bars)}</svg>'
    )


def _outcome(run: Mapping[str, Any]) -> str:
    return str(run.get("result") or run["state"])


def _took(run: Mapping[str, Any]) -> int:
    """Return the milliseconds of a run; 0 where they are not known, or fewer by clocks that differ."""
    return max(0, run.get("durationMs") or 0)


def _bar(run: Mapping[str, Any], left: int, longest: int) -> str:
    outcome = _outcome(run)
    tone = "good" if outcome in _GOOD else "busy" if outcome in _BUSY else "bad"
    took = _took(run)
    height = max(_SHORTEST, round(TALLEST * took / longest))
    title = f"{moment(run['receivedAt'])}: {outcome}" + (f", {duration(took)}" if took else "")
    # The mark tells a failure from a success without its colour.
    mark = f'<path class="bad" d="M{left + 2} {TALLEST + 2}l5 5m0 -5l-5 5"/>' if tone == "bad" else ""
    bar = f'<rect class="{tone}" x="{left}" y="{TALLEST - height}" width="{STEP - 2}" height="{height}"/>'
    return f"<g><title>{escape(title)}</title>{bar}{mark}</g>"
