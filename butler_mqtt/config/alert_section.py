"""Section `alerts`: targets with their URLs, and tasks that must succeed regularly."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from butler_mqtt.config.yaml_file import Document, Place
from butler_mqtt.settings import ALERT_KINDS, MIN_INTERVAL_SECONDS, AlertSettings, AlertTarget, OverdueEntry

_TARGETS: Final = ("Butler", "alerts", "targets")
_OVERDUE: Final = ("Butler", "alerts", "overdue")
#: Keys of an entry of `overdue` that name tasks.
_SELECTORS: Final = ("taskId", "taskName", "tag", "customProperty")


class AlertSection:
    """
    Reads the section `alerts` of *document*, which gets a problem for each fault.

    Args:
        document: The whole file.
        section: Its section, without defaults.
        secret: Reads a file that holds one secret, for a place; None with a problem added.
        check_files: Whether such files are read; without, those targets are missing.
        url_fault: Says what is wrong with an alert's URL, None where nothing is; without, nothing is.
    """

    def __init__(
        self,
        document: Document,
        section: Mapping[str, Any],
        *,
        secret: Callable[[str, Place], str | None],
        check_files: bool,
        url_fault: Callable[[str], str | None] | None,
    ) -> None:
        self._document = document
        self._section = section
        self._secret = secret
        self._check_files = check_files
        self._url_fault = url_fault
        self._enable = bool(section.get("enable", False))

    def read(self) -> AlertSettings:
        """Return the settings; of a switched-off section names and kinds are checked, and no file read."""
        items = self._section.get("targets", ())
        self._names([item["name"] for item in items])
        targets = [self._target(item, (*_TARGETS, index)) for index, item in enumerate(items)]
        if self._enable and not items and self._document.is_valid(_TARGETS):
            self._document.add_problem(
                _TARGETS, "is empty, and enable: true needs one; allowed: a list of {name, urlFile}"
            )
        overdue = [
            self._entry(item, (*_OVERDUE, index))
            for index, item in enumerate(self._section.get("overdue", ()))
        ]
        return AlertSettings(
            enable=self._enable,
            targets=tuple(one for one in targets if one is not None),
            overdue=tuple(one for one in overdue if one is not None),
        )

    def _names(self, names: Sequence[str]) -> None:
        for index, name in enumerate(names):
            if name in names[:index]:
                line = self._document.line((*_TARGETS, names.index(name)))
                self._document.add_problem(
                    (*_TARGETS, index), f"has the name of the target in line {line}; names distinguish them"
                )

    def _target(self, item: Mapping[str, Any], place: Place) -> AlertTarget | None:
        on = tuple(dict.fromkeys(item.get("on", ALERT_KINDS)))
        for index, kind in enumerate(item.get("on", ())):
            if kind not in ALERT_KINDS:
                self._document.add_problem((*place, "on", index), _unknown_kind(kind))
        url = self._url(item, place)
        if url is None:
            return None
        tasks = item.get("tasks", {})
        return AlertTarget(
            name=item["name"],
            url=url,
            on=on,
            tags=tuple(tasks.get("tag", ())),
            custom_properties=tuple((one["name"], one["value"]) for one in tasks.get("customProperty", ())),
            script_log=bool(item.get("scriptLog", False)),
            min_interval_seconds=float(item.get("minIntervalSeconds", MIN_INTERVAL_SECONDS)),
        )

    def _url(self, item: Mapping[str, Any], place: Place) -> str | None:
        url, file = item.get("url"), item.get("urlFile")
        if (url is None) == (file is None):
            self._document.add_problem(place, "needs one of urlFile and url")
            return None
        if not self._enable:
            return str(url) if url is not None else None
        where = (*place, "url" if file is None else "urlFile")
        if file is not None:
            if not self._check_files:
                return None
            url = self._secret(file, where)
        if url is None:
            return None
        url = str(url).strip()
        # The URL itself is not quoted: it holds secrets.
        if self._check_files and self._url_fault is not None and (fault := self._url_fault(url)):
            self._document.add_problem(where, fault)
        return url

    def _entry(self, item: Mapping[str, Any], place: Place) -> OverdueEntry | None:
        given = [key for key in _SELECTORS if item.get(key) is not None]
        if len(given) != 1:
            self._document.add_problem(place, f"needs one of {', '.join(_SELECTORS)}")
            return None
        (key,), value = given, item[given[0]]
        every = float(item["everySeconds"])
        if key == "customProperty":
            return OverdueEntry(key, value["value"], value["name"], every)
        return OverdueEntry(key, str(value).lower() if key == "taskId" else str(value), "", every)


def _unknown_kind(kind: str) -> str:
    by_name = {known.lower(): known for known in ALERT_KINDS}
    near = difflib.get_close_matches(kind[:100].lower(), by_name, n=1, cutoff=0.6)
    if near:
        return f"unknown kind {kind[:60]!r}; did you mean {by_name[near[0]]}?"
    return f"unknown kind {kind[:60]!r}; known: {', '.join(ALERT_KINDS)}"
