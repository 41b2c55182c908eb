"""Conditions of a policy, in CEL: what they may read, and whether they can be computed at all.

They read features (numbers) and the payment's own facts; of a payment that lacks one of those a condition does not
hold. Ids, tokens, texts of persons and moments are not to be read: tokens are for lists, and features hold the ages.
A condition is tried when it is loaded, at every place where a comparison in it can turn, so that one that fails or
can never hold is told to its author and not found out by payments.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import cel

from pix.contracts import Payment, PaymentMessage
from pix.contracts.payment import INSTANT_FIELDS
from pix.contracts.tokenised import TOKEN_KINDS
from pix.features import FEATURE_NAMES

Kind = Literal["number", "whole number", "flag", "text"]
Facts = Mapping[str, float | int | bool | str]

NOT_COMPUTED = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError)
"""What CEL raises where an expression has no value."""
MOST_TRIALS = 4_000
PLAIN = {"_&&_", "_||_", "!_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in"}
"""Comparisons and what connects them: between the places where one turns, nothing changes."""
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_TEXT = re.compile(r'"([^"\\]*)"' + r"|'([^'\\]*)'")


@dataclass(frozen=True, slots=True)
class Name:
    """Something that a condition may read.

    Attributes:
        kind: Type of its values.
        values: Every value of a text that has but few.
        place: Place in the feature vector; None for a fact of the payment.
    """

    kind: Kind
    values: tuple[str, ...] = ()
    place: int | None = None


def _name(annotation: Any) -> Name:
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return Name("text", get_args(annotation))
    kinds: Mapping[Any, Kind] = {bool: "flag", int: "whole number", str: "text"}
    return Name(kinds[annotation])


PAYMENT_NAMES: Mapping[str, Name] = {
    name: _name(field.annotation)
    for name, field in PaymentMessage.model_fields.items()
    if name not in {*TOKEN_KINDS, *INSTANT_FIELDS, *FEATURE_NAMES, "end_to_end_id"}
}
NAMES: Mapping[str, Name] = {
    **PAYMENT_NAMES,
    **{name: Name("number", place=place) for place, name in enumerate(FEATURE_NAMES)},
}
"""Everything that a condition may read. Where feature and fact share a name they have the same value."""


class Unusable(Exception):
    """A condition that must not be applied; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition.

    Attributes:
        source: As it was written.
        features: Names of the features that it reads, with their places in the vector.
        fields: Names of the payment's facts that it reads.
        program: The compiled expression.
        doubt: Why it may never hold; empty if there is no doubt.
    """

    source: str
    features: tuple[tuple[str, int], ...]
    fields: tuple[str, ...]
    program: cel.Program
    doubt: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that it reads."""
        return (*(name for name, _ in self.features), *self.fields)

    def holds(self, features: Sequence[float | None], payment: Payment) -> bool | None:
        """Whether it holds: not where a fact is missing; None where it has no value, as after a division by zero."""
        facts: dict[str, Any] = {}
        for name, place in self.features:
            value = features[place]
            if value is None:
                return False
            facts[name] = value
        for name in self.fields:
            fact = getattr(payment, name)
            if fact is None:
                return False
            facts[name] = fact
        try:
            return self.program.execute(facts) is True
        except NOT_COMPUTED:
            return None


def compiled(source: str) -> Condition:
    """A condition, checked.

    Raises:
        Unusable: It cannot be compiled or computed, reads what it may not, or can never hold.
    """
    try:
        program = cel.compile(source)
    except ValueError as broken:
        raise Unusable(f"is no CEL: {_first_line(broken)}") from broken
    read = program.variables()
    unknown = [name for name in read if name not in NAMES]
    if unknown:
        raise Unusable(
            f"reads unknown names: {', '.join(unknown)}; take features of docs/features.md or facts of docs/policy.md"
        )
    _check_texts(source, read, program.functions())
    doubt = _doubt(source, read, program)
    features = tuple((name, place) for name in read if (place := NAMES[name].place) is not None)
    return Condition(source, features, tuple(name for name in read if NAMES[name].place is None), program, doubt)


def _check_texts(source: str, read: Sequence[str], functions: Sequence[str]) -> None:
    """Refuse texts that none of the facts can be equal to."""
    texts = {name: NAMES[name].values for name in read if NAMES[name].kind == "text"}
    if not set(functions) <= PLAIN or not all(texts.values()):
        return
    possible = {value for values in texts.values() for value in values}
    for written in _texts(source):
        if written not in possible:
            told = "; ".join(f"{name} is one of {', '.join(values)}" for name, values in texts.items())
            raise Unusable(f'compares with "{written}", which nothing it reads can be ({told or "it reads no text"})')


def _doubt(source: str, read: Sequence[str], program: cel.Program) -> str:
    """Why it may never hold, after trials; empty if it can.

    Raises:
        Unusable: It fails, is neither true nor false, or surely never holds.
    """
    choices = [_candidates(NAMES[name], source) for name in read]
    is_complete = prod(map(len, choices)) <= MOST_TRIALS
    can_hold = False
    for values in _trials(choices, is_complete=is_complete):
        facts: dict[str, Any] = dict(zip(read, values, strict=True))
        try:
            outcome = program.execute(facts)
        except NOT_COMPUTED as failed:
            raise Unusable(
                f"cannot be computed where {_told(facts)}: {_first_line(failed)}; compare values of one type, and "
                "exclude such payments first, as in `b != 0 && a / b > 2`"
            ) from failed
        if not isinstance(outcome, bool):
            raise Unusable(f"must be true or false, is {type(outcome).__name__} where {_told(facts)}")
        can_hold = can_hold or outcome
    if can_hold:
        return ""
    told = "can never hold: its parts contradict each other, or compare values of different types"
    if is_complete and set(program.functions()) <= PLAIN:
        raise Unusable(
            f"{told} ({', '.join(f'{name} is a {NAMES[name].kind}' for name in read) or 'it reads nothing'})"
        )
    return "held in none of its trials; see with `sentinela policy dry-run` whether it ever hits"


def _trials(choices: Sequence[Sequence[Any]], *, is_complete: bool) -> Iterator[tuple[Any, ...]]:
    if is_complete:
        yield from product(*choices)
        return
    # The same draws for the same policy, on every machine.
    draw = random.Random(0)  # noqa: S311 - nothing secret
    for _ in range(MOST_TRIALS):
        yield tuple(draw.choice(values) for values in choices)


def _candidates(name: Name, source: str) -> list[Any]:
    """Values on both sides of everything that a fact may be compared with."""
    if name.kind == "flag":
        return [False, True]
    if name.kind == "text":
        return [*(name.values or dict.fromkeys([*_texts(source), "other"]))]
    written = sorted({0.0, *map(float, _NUMBER.findall(source))})
    between = [(low + high) / 2 for low, high in zip(written, written[1:], strict=False)]
    values = sorted({*written, *between, written[0] - 1, written[-1] + 1})
    return sorted({round(value) for value in values}) if name.kind == "whole number" else values


def _texts(source: str) -> list[str]:
    return [double or single for double, single in _TEXT.findall(source)]


def _told(facts: Mapping[str, object]) -> str:
    return " and ".join(f"{name} is {value}" for name, value in facts.items()) or "it reads nothing"


def _first_line(error: Exception) -> str:
    # CEL's hints are about its own types; the first sentence says what is wrong.
    return str(error).strip().partition("\n")[0].partition(". ")[0]
