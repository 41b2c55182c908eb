"""The policy file: YAML of a fixed shape, read with the line of everything in it.

Whatever is wrong with its shape is told at once, each with line, place and what to do. What its conditions mean is
``serving.policy_conditions``'s, what follows from it ``serving.policy``'s.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from pix.contracts.decision import Action
from pix.contracts.fields import Instant, StrictMessage, Token
from serving.policy_lists import FIELDS, EntryKind, ListName, Side

Source = Literal["block_list", "rules", "watch_list", "allow_list", "thresholds"]
Place = tuple[str | int, ...]

RESERVED = ("test_account", "block_list", "watch_list", "allow_list")
"""Stand among the rule hits of a decision for something else than a rule."""
CLEAR_ID = re.compile(r"[0-9A-Z]{11,}|\d{8}-\d{4}-\d+|@")
MAX_CHARACTERS = 4_000_000


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong with a policy file.

    Attributes:
        place: Path in the file, such as ``rules.large_amount.when``.
        reason: What is wrong, and what to do.
        line: Where that is, from 1; 0 if unknown.
    """

    place: str
    reason: str
    line: int = 0

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else ""
        return ": ".join(part for part in (where, self.place, self.reason) if part)


class InvalidPolicy(Exception):
    """A policy file that must not be applied.

    Attributes:
        mistakes: What is wrong with it, by line.
    """

    def __init__(self, name: str, mistakes: Iterable[Mistake]) -> None:
        """Tell all of them.

        Args:
            name: Of the file.
            mistakes: What is wrong with it.
        """
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.line))
        super().__init__("\n  ".join([f"policy {name} cannot be used:", *map(str, self.mistakes)]))


def _none_is_empty(value: Any) -> Any:
    return [] if value is None else value


Share = Annotated[float, Field(gt=0, le=1)]
RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Expression = Annotated[str, Field(min_length=1, max_length=2_000)]


class ThresholdsPart(StrictMessage):
    """Fraud probability from which an action applies."""

    REVIEW: Share
    BLOCK_AND_REVIEW: Share
    BLOCK: Share

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if not self.REVIEW <= self.BLOCK_AND_REVIEW <= self.BLOCK:
            raise ValueError(
                f"must rise with severity, got REVIEW {self.REVIEW}, BLOCK_AND_REVIEW {self.BLOCK_AND_REVIEW}, BLOCK "
                f"{self.BLOCK}"
            )
        return self


class SegmentPart(StrictMessage):
    """Payments with thresholds of their own."""

    name: RuleName
    when: Expression
    thresholds: ThresholdsPart


class RulePart(StrictMessage):
    """A condition and what follows from it."""

    name: RuleName
    when: Expression
    action: Action

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in RESERVED:
            raise ValueError(f"{name} is kept for rule hits of another meaning; choose another name")
        return name


class EntryPart(StrictMessage):
    """Somebody on a list."""

    kind: EntryKind
    side: Side | None = None
    token: Token
    since: Instant = Field(alias="from")
    until: Instant | None
    author: str = Field(min_length=1, max_length=80)
    reason: str = Field(min_length=1, max_length=200)

    @field_validator("author", "reason")
    @classmethod
    def _is_not_clear(cls, text: str) -> str:
        if CLEAR_ID.search(text):
            raise ValueError("looks as if it held a clear id or an address; say it without")
        return text

    @model_validator(mode="after")
    def _fits(self) -> Self:
        sides = FIELDS[self.kind]
        if len(sides) == 1 and self.side not in (None, *sides):
            raise ValueError(f"a {self.kind} is always the {next(iter(sides))}'s; leave out side")
        if len(sides) > 1 and self.side is None:
            raise ValueError("needs side: payer, payee or both")
        if self.until is not None and self.until <= self.since:
            raise ValueError("until must come after from")
        return self


Entries = Annotated[list[EntryPart], BeforeValidator(_none_is_empty)]


class ListsPart(StrictMessage):
    """Who is blocked, watched or let pass."""

    block: Entries = []
    watch: Entries = []
    allow: Entries = []


class HeldPart(StrictMessage):
    """How long a payment under suspicion may wait; the longest times are those of the rules for Pix."""

    minutes_by_day: int = Field(gt=0, le=30)
    minutes_otherwise: int = Field(gt=0, le=60)
    outcome: Literal["ALLOW", "BLOCK"]


class ReviewedPart(StrictMessage):
    """How long a payment that went on may be looked at; the payee's bank can keep money back for 72 h."""

    minutes_by_day: int = Field(gt=0, le=72 * 60)
    minutes_otherwise: int = Field(gt=0, le=72 * 60)
    outcome: Literal["ALLOW"]


class HoldsPart(StrictMessage):
    """Deadlines of what waits for a person. A held payment must not wait for ever."""

    BLOCK_AND_REVIEW: HeldPart
    REVIEW: ReviewedPart | None = None


class ControlPart(StrictMessage):
    """Payments that the score alone would stop, and that go on to be reviewed instead, by chance."""

    share: float = Field(gt=0, le=0.1)
    up_to_cents: int = Field(gt=0)


class PolicyFile(StrictMessage):
    """The whole file."""

    priority: list[Source]
    thresholds: ThresholdsPart
    segments: Annotated[list[SegmentPart], BeforeValidator(_none_is_empty)] = []
    rules: Annotated[list[RulePart], BeforeValidator(_none_is_empty)] = []
    lists: Annotated[ListsPart, BeforeValidator(lambda value: {} if value is None else value)] = ListsPart()
    holds: HoldsPart
    control_group: ControlPart | None = None

    @field_validator("priority")
    @classmethod
    def _names_each_once(cls, priority: list[Source]) -> list[Source]:
        if sorted(priority) != sorted(get_args(Source)):
            raise ValueError(f"must name each of {', '.join(get_args(Source))} once")
        return priority


class _Loader(yaml.SafeLoader):
    """Times stay texts, as their author wrote them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith("timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was read.

    Attributes:
        content: As the YAML says.
        lines: Place -> line, from 1.
    """

    content: Any
    lines: Mapping[Place, int]

    def mistake(self, place: Place, reason: str) -> Mistake:
        """What is wrong at a place, as it is told; items of lists are called by their names."""
        at: Any = self.content
        told = []
        for part in place:
            at = _part(at, part)
            name = at.get("name") if isinstance(at, dict) else None
            told.append(str(name or part + 1) if isinstance(part, int) else part)
        line = next((self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), 0)
        return Mistake(".".join(told), reason, line)


def _part(container: Any, part: str | int) -> Any:
    """What lies there, None if nothing does."""
    if isinstance(container, dict):
        return container.get(part)
    return container[part] if isinstance(container, list) and isinstance(part, int) and part < len(container) else None


def read(text: str, name: str) -> tuple[PolicyFile, Written]:
    """A policy file, and where in it everything stands.

    Args:
        text: Its content.
        name: How it is called in an error.

    Raises:
        InvalidPolicy: It is no YAML, or not of this shape.
    """
    written = _written(text, name)
    try:
        return PolicyFile.model_validate(written.content), written
    except ValidationError as broken:
        errors = broken.errors(include_url=False, include_input=False)
        mistakes = [written.mistake(tuple(error["loc"]), _reason(error["type"], error["msg"])) for error in errors]
        raise InvalidPolicy(name, mistakes) from None


def _reason(kind: str, message: str) -> str:
    known = {
        "extra_forbidden": "is not known here; take it out or correct its name",
        "missing": "is missing; every part is described in docs/policy.md",
    }
    return known.get(kind, message.removeprefix("Value error, "))


def _written(text: str, name: str) -> Written:
    if len(text) > MAX_CHARACTERS:
        raise InvalidPolicy(name, [Mistake("", f"has more than {MAX_CHARACTERS:,} characters; shorten its lists")])
    lines: dict[Place, int] = {}
    mistakes: list[Mistake] = []
    try:
        # An alias could make a small file a huge one.
        for token in yaml.scan(text):
            if isinstance(token, yaml.AliasToken):
                raise InvalidPolicy(
                    name, [Mistake("", "holds an alias; write it out instead", token.start_mark.line + 1)]
                )
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            mistakes += _walked(node, (), lines)
        content = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as broken:
        line = broken.problem_mark.line + 1 if broken.problem_mark else 0
        raise InvalidPolicy(name, [Mistake("", f"is no YAML: {broken.problem or broken.context}", line)]) from broken
    except (yaml.YAMLError, ValueError, RecursionError) as broken:
        raise InvalidPolicy(name, [Mistake("", f"is no YAML: {str(broken).splitlines()[0]}")]) from broken
    if mistakes:
        raise InvalidPolicy(name, mistakes)
    return Written(content, lines)


def _walked(node: yaml.Node, place: Place, lines: dict[Place, int]) -> Iterator[Mistake]:
    """Note where everything stands; a key that comes twice would silently lose its first value."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _walked(item, (*place, number), lines)
    if isinstance(node, yaml.MappingNode):
        times = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                yield Mistake(".".join(map(str, place)), "has a key that is no text", key.start_mark.line + 1)
                continue
            here = (*place, key.value)
            if times[key.value] > 1:
                yield Mistake(".".join(map(str, here)), "stands here more than once", key.start_mark.line + 1)
            lines[here] = key.start_mark.line + 1
            yield from _walked(value, here, lines)


LIST_NAMES: tuple[ListName, ...] = ("block", "watch", "allow")
