"""
The text of a QRS filter: no word of a request gets into it unescaped.

Documented nowhere, measured by others against a real server: a quote in a
string is escaped by a backslash, a doubled quote is refused, and the whole
filter must be percent-encoded with blanks as %20 (not +). A site that refuses
the backslash is asked with doubled quotes (`task_lists`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from urllib.parse import quote

from butler_mqtt.domain.model import Selector, SelectorKind

#: `or`-joined terms of one query; an encoded id takes about 50 bytes of the URL.
MAX_TERMS = 100
#: Windows' HTTP.sys refuses request line and headers above 16 KB; half of it leaves room for headers.
MAX_ENCODED = 7500

_OR = " or "
#: What does not stand for itself in a URL (RFC 3986, 2.3).
_ENCODED = re.compile(r"[^A-Za-z0-9_.~-]+")


def literal(text: str, *, doubled: bool = False) -> str:
    r"""
    Return *text* as a quoted string: first `\` becomes `\\`, then `'` becomes `\'`.

    With *doubled*, `'` becomes `''` where there is no backslash: how a site that
    wants that reads one is not known, and read as an escape it would let text out.
    """
    if doubled and "\\" not in text:
        return "'" + text.replace("'", "''") + "'"
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def can_be_doubled(selector: Selector) -> bool:
    """Return whether the term of *selector* is another with doubled quotes."""
    return term(selector, doubled=True) != term(selector)


def term(selector: Selector, *, doubled: bool = False) -> str:
    """
    Return the term, in parentheses, for the tasks of *selector*.

    Ids stand unquoted, so they must be checked GUIDs; `Selector` promises that.
    """
    if selector.kind is SelectorKind.TASK_ID:
        return any_of("id", [selector.value])
    if selector.kind is SelectorKind.TASK_NAME:
        return f"(name eq {literal(selector.value, doubled=doubled)})"
    if selector.kind is SelectorKind.TAG:
        return f"(tags.name eq {literal(selector.value, doubled=doubled)})"
    return (
        f"(customProperties.definition.name eq {literal(selector.name, doubled=doubled)}"
        f" and customProperties.value eq {literal(selector.value, doubled=doubled)})"
    )


def any_of(path: str, ids: Iterable[str]) -> str:
    """Return a filter for objects whose *path* is any of *ids*, which must be checked GUIDs."""
    return _OR.join(f"({path} eq {_bare(one)})" for one in ids)


def none_of(path: str, ids: Iterable[str]) -> str:
    """Return a filter for objects whose *path* is none of *ids*, which must be checked GUIDs."""
    return " and ".join(f"{path} ne {_bare(one)}" for one in ids)


def _bare(identity: str) -> str:
    if not identity.replace("-", "").isalnum() or not identity.isascii():
        # Only a caller that skipped the check of ids gets here: an injection must not pass as an error.
        raise RuntimeError(f"not a GUID in a filter: {identity!r}")
    return identity


def join(selectors: Iterable[Selector], *, doubled: bool = False) -> str:
    """Return the filter for tasks that any of *selectors* means, with *doubled* quotes or backslashes."""
    return _OR.join(term(one, doubled=doubled) for one in selectors)


def encode(text: str) -> str:
    """Percent-encode the whole of a query value."""
    # `quote` looks at every character, and most are those of ids.
    return _ENCODED.sub(_quoted, text)


def _quoted(run: re.Match[str]) -> str:
    return _quote(run[0])


_quote = lru_cache(maxsize=256)(partial(quote, safe=""))


def can_be_asked(selector: Selector) -> bool:
    """Return whether the selector has a UTF-8 form: text with lone surrogates has none, nor has a task."""
    try:
        (selector.name + selector.value).encode()
    except UnicodeEncodeError:
        return False
    return True


def groups(selectors: Sequence[Selector]) -> Iterator[list[Selector]]:
    """Cut *selectors* into queries of bounded length; one that is too long by itself stands alone."""
    group: list[Selector] = []
    length = 0
    for selector in selectors:
        size = len(encode(term(selector) + _OR))
        if group and (len(group) == MAX_TERMS or length + size > MAX_ENCODED):
            yield group
            group, length = [], 0
        group.append(selector)
        length += size
    if group:
        yield group
