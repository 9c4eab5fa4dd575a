"""A view of the page: what it reads for a call, and how its parts are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams


@dataclass(frozen=True, slots=True)
class ViewCall:
    """One call of a view: what its path and its query say, and whether an operator asks."""

    path: Mapping[str, str]
    query: QueryParams
    operates: bool


@dataclass(frozen=True, slots=True)
class PageView:
    """
    One view.

    `name` is that of its part in the navigation and, with `_live.html`, of the template of what
    changes; `read` returns the values for it, among them `title`, and may block; it raises
    HttpRefusal or JournalError. `still` is the template of what stands above and does not change.
    """

    name: str
    path: str
    read: Callable[[ViewCall], dict[str, Any]]
    template: str
    still: str | None = None
