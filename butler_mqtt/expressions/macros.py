"""What a macro does with the elements of a list, or the keys of an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from butler_mqtt.expressions.values import EvaluationError, Scope, kind


@dataclass(frozen=True, slots=True)
class Elements:
    """
    One run of a macro: `values` one after another stand in `variables[name]`.

    `bodies` are evaluated for each; `place` is the macro's own in the text.
    """

    values: Any
    variables: dict[str, object]
    name: str
    bodies: tuple[Callable[[Scope], Any], ...]
    place: int

    def true(self, value: object) -> bool:
        """Return a condition's value; raises EvaluationError when it is neither true nor false."""
        if value is True or value is False:
            return bool(value)
        raise EvaluationError(
            f"the condition of a macro is {kind(value)}, neither true nor false", self.place
        )


Macro = Callable[[Scope, Elements], Any]


def _quantified(*, decisive: bool) -> Macro:
    """Return `exists` or `all`: as `||` or `&&` over the elements."""

    def run(scope: Scope, elements: Elements) -> bool:
        variables, name, (body,) = elements.variables, elements.name, elements.bodies
        error: EvaluationError | None = None
        for value in elements.values:
            variables[name] = value
            try:
                if elements.true(body(scope)) is decisive:
                    return decisive
            except EvaluationError as found:
                error = error or found
        if error is not None:
            raise error
        return not decisive

    return run


def _exists_one(scope: Scope, elements: Elements) -> bool:
    return len(_filter(scope, elements)) == 1


def _filter(scope: Scope, elements: Elements) -> list[object]:
    variables, name, (condition,) = elements.variables, elements.name, elements.bodies
    kept = []
    for value in elements.values:
        variables[name] = value
        if elements.true(condition(scope)):
            kept.append(value)
    return kept


def _mapped(scope: Scope, elements: Elements) -> list[object]:
    variables, name, (*conditions, body) = elements.variables, elements.name, elements.bodies
    made = []
    for value in elements.values:
        variables[name] = value
        if all(elements.true(condition(scope)) for condition in conditions):
            made.append(body(scope))
    return made


MACROS: Final[Mapping[str, Macro]] = {
    "exists": _quantified(decisive=True),
    "all": _quantified(decisive=False),
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _mapped,
}
