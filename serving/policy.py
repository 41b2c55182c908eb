"""The decision policy: thresholds, rules and lists as data, checked when loaded, pure when applied.

The file's shape is ``serving.policy_file``'s, what it means docs/policy.md's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pix.contracts import Payment
from pix.tokens import key_version
from serving.control_group import Control, ControlTerms, draw
from serving.policy_archive import version_of
from serving.policy_conditions import Condition, Unusable, compiled
from serving.policy_file import (
    LIST_NAMES,
    EntryPart,
    InvalidPolicy,
    Mistake,
    PolicyFile,
    Source,
    ThresholdsPart,
    Written,
    read,
)
from serving.policy_lists import FIELDS, Entry, Listed, ListName, listed

__all__ = ["ACTIONS", "TEST_ACCOUNT", "Case", "InvalidPolicy", "Policy", "Verdict", "load_policy", "parse_policy"]

ACTIONS = ("ALLOW", "REVIEW", "BLOCK_AND_REVIEW", "BLOCK")
"""Every action, from the mildest to the most severe."""
REVIEWED, HELD = ACTIONS.index("REVIEW"), ACTIONS.index("BLOCK_AND_REVIEW")
TEST_ACCOUNT = "test_account"
"""Stands among the rule hits of a decision that a test account forced; no rule may be called so."""
DEFAULT = "default"
"""Segment of the payments that belong to no other."""

LIST_OF: Mapping[Source, ListName] = {"block_list": "block", "watch_list": "watch", "allow_list": "allow"}
ASKED_BY_LIST: Mapping[Source, int] = {"block_list": ACTIONS.index("BLOCK"), "watch_list": ACTIONS.index("REVIEW")}


@dataclass(frozen=True, slots=True)
class Case:
    """What a policy judges. All of it stands in the decision's record, so that a re-run asks the same question.

    Attributes:
        probability: Fraud probability (``fraud_probability``), None without a model.
        features: The feature vector, in the declarations' order (``features``).
        payment: The payment behind the door (``payment``).
        decided_at_ms: When it is decided, epoch milliseconds (``decided_at_ms``): lists count by this clock, not by the
            payment's, because an entry that was added late must not change what was decided before.
    """

    probability: float | None
    features: Sequence[float | None]
    payment: Payment
    decided_at_ms: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition and what follows from it.

    Attributes:
        name: Shown as a rule hit.
        condition: When it hits.
        action: What it asks for then.
        severity: The action's place in ``ACTIONS``.
    """

    name: str
    condition: Condition
    action: str
    severity: int

    @property
    def facts(self) -> tuple[str, ...]:
        """Features and facts of the payment that its condition reads."""
        return self.condition.names


@dataclass(frozen=True, slots=True)
class Segment:
    """Payments with thresholds of their own.

    Attributes:
        name: Of the segment.
        condition: Which payments belong to it.
        thresholds: Fraud probability from which REVIEW, BLOCK_AND_REVIEW and BLOCK apply.
    """

    name: str
    condition: Condition
    thresholds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """How long decisions of one action wait for a person; see ``serving.holds``.

    Attributes:
        minutes_by_day: On a day of business, between 6 h and 20 h in Brasilia.
        minutes_otherwise: At night, on weekends and holidays.
        outcome: What happens to the payment if nobody looked at it, ALLOW or BLOCK.
    """

    minutes_by_day: int
    minutes_otherwise: int
    outcome: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of one payment.

    Attributes:
        action: The most severe that was asked for.
        rule_hits: Names of the rules and lists that hit, in the order they were asked.
        segment: Whose thresholds its score was compared with; None where the score was not asked.
        failed: Names of rules and segments whose condition had no value for this payment, so that it did not hold.
        control: What chance said, where it could have let the payment go; None elsewhere.
    """

    action: str
    rule_hits: tuple[str, ...]
    segment: str | None = None
    failed: tuple[str, ...] = ()
    control: Control | None = None

    def forced(self, action: str) -> "Verdict":
        """The verdict on a payment to a test account: its action, and beside the rules that hit, why."""
        return replace(self, action=action, rule_hits=(*self.rule_hits, TEST_ACCOUNT), control=None)


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy.

    Attributes:
        version: First 16 hex digits of the file's SHA-256.
        text: The file as it is.
        priority: Who is asked, first to last; what stands below the allow list is not asked where that hits.
        thresholds: Fraud probability from which each action applies, for payments of no segment.
        segments: In the file's order; the first that a payment belongs to counts.
        rules: In the file's order.
        lists: By name.
        holds: Action -> how long its decisions wait for a person.
        control: Which payments go on by chance; None for none.
        warnings: What its author should look at, although it can be applied.
    """

    version: str
    text: str
    priority: tuple[Source, ...]
    thresholds: dict[str, float]
    segments: tuple[Segment, ...]
    rules: tuple[Rule, ...]
    lists: Mapping[ListName, Listed]
    holds: Mapping[str, HoldTerms]
    control: ControlTerms | None = None
    warnings: tuple[str, ...] = ()

    def judge(self, case: Case) -> Verdict:
        """The most severe action that anybody asks for. Pure: equal cases get equal verdicts, years later, too."""
        asked, by_score, segment = 0, 0, None
        hits: list[str] = []
        failed: list[str] = []
        for source in self.priority:
            if source == "rules":
                asked = max(asked, self._by_rules(case, hits, failed))
            elif source == "thresholds":
                if case.probability is not None:
                    segment, thresholds = self._segment(case, failed)
                    by_score = sum(case.probability >= threshold for threshold in thresholds)
            elif self.lists[LIST_OF[source]].names(case.payment, case.decided_at_ms):
                hits.append(source)
                if source == "allow_list":
                    break
                asked = max(asked, ASKED_BY_LIST[source])
        control = self._control(case, by_score, asked)
        asked = max(asked, REVIEWED if control is not None and control.drawn else by_score)
        return Verdict(ACTIONS[asked], tuple(hits), segment, tuple(failed), control)

    def _control(self, case: Case, by_score: int, asked: int) -> Control | None:
        """What chance says of a payment that nobody but the score would stop."""
        terms = self.control
        if terms is None or by_score < HELD or asked >= HELD or case.payment.amount_cents > terms.up_to_cents:
            return None
        return Control(terms.share, ACTIONS[by_score], draw(case.payment) < terms.share)

    def _by_rules(self, case: Case, hits: list[str], failed: list[str]) -> int:
        asked = 0
        for rule in self.rules:
            holds = rule.condition.holds(case.features, case.payment)
            if holds:
                hits.append(rule.name)
                asked = max(asked, rule.severity)
            elif holds is None:
                failed.append(rule.name)
        return asked

    def _segment(self, case: Case, failed: list[str]) -> tuple[str, Sequence[float]]:
        for segment in self.segments:
            holds = segment.condition.holds(case.features, case.payment)
            if holds:
                return segment.name, segment.thresholds
            if holds is None:
                failed.append(segment.name)
        return DEFAULT, tuple(self.thresholds.values())

    def warnings_at(self, now_ms: int, token_key_version: int | None = None) -> tuple[str, ...]:
        """What its author should look at now.

        Args:
            now_ms: The clock, epoch milliseconds.
            token_key_version: Key version of the tokens in payments; None if it is not known here.
        """
        told = list(self.warnings)
        for name, entries in self.lists.items():
            over = sum(entry.until_ms is not None and entry.until_ms <= now_ms for entry in entries.entries)
            if over:
                told.append(f"lists.{name}: {over} of {len(entries.entries)} entries have expired; take them out")
            if token_key_version is not None:
                foreign = sum(key_version(entry.token) != token_key_version for entry in entries.entries)
                if foreign:
                    told.append(
                        f"lists.{name}: {foreign} entries are tokens of another key than {token_key_version} and match "
                        "no payment; add them anew with `sentinela policy list add`"
                    )
        return tuple(told)

    def described(self) -> dict[str, object]:
        """As JSON takes it; whom the lists name stands in the text only."""
        return {
            "version": self.version,
            "text": self.text,
            "priority": list(self.priority),
            "thresholds": self.thresholds,
            "segments": [
                {
                    "name": segment.name,
                    "when": segment.condition.source,
                    "thresholds": dict(zip(ACTIONS[1:], segment.thresholds, strict=True)),
                }
                for segment in self.segments
            ],
            "rules": [{"name": rule.name, "when": rule.condition.source, "action": rule.action} for rule in self.rules],
            "lists": {name: len(found.entries) for name, found in self.lists.items()},
            "holds": {action: asdict(terms) for action, terms in self.holds.items()},
            "control_group": asdict(self.control) if self.control else None,
        }


def load_policy(path: Path) -> Policy:
    """Read and check a policy file.

    Raises:
        InvalidPolicy: The file is missing or some part of it is wrong; says where.
    """
    try:
        content = path.read_bytes()
    except OSError as broken:
        raise InvalidPolicy(str(path), [Mistake("", f"cannot be read: {broken}")]) from broken
    return parse_policy(content, str(path))


def parse_policy(content: str | bytes, name: str) -> Policy:
    """A policy from the content of its file.

    Args:
        content: The file as it is.
        name: How it is called in an error.

    Raises:
        InvalidPolicy: Some part of it is wrong; every mistake is told, with its place.
    """
    try:
        text = content.decode() if isinstance(content, bytes) else content
    except UnicodeDecodeError as broken:
        raise InvalidPolicy(name, [Mistake("", f"is no UTF-8: {broken}")]) from broken
    file, written = read(text, name)
    conditions = _conditions(file, written, name)
    return Policy(
        version=version_of(text),
        text=text,
        priority=tuple(file.priority),
        thresholds=file.thresholds.model_dump(),
        segments=tuple(
            Segment(part.name, conditions["segments", number], _shares(part.thresholds))
            for number, part in enumerate(file.segments)
        ),
        rules=tuple(
            Rule(part.name, conditions["rules", number], part.action, ACTIONS.index(part.action))
            for number, part in enumerate(file.rules)
        ),
        lists={each: listed(map(_entry, getattr(file.lists, each))) for each in LIST_NAMES},
        control=ControlTerms(**file.control_group.model_dump()) if file.control_group else None,
        holds={action: HoldTerms(**terms) for action, terms in file.holds.model_dump(exclude_none=True).items()},
        warnings=tuple(
            str(written.mistake((*place, "when"), found.doubt)) for place, found in conditions.items() if found.doubt
        ),
    )


def _conditions(file: PolicyFile, written: Written, name: str) -> dict[tuple[str, int], Condition]:
    """Part and number -> its condition.

    Raises:
        InvalidPolicy: Conditions cannot be used, or names are taken.
    """
    mistakes, found = _repeated(file, written), {}
    for kind in ("segments", "rules"):
        for number, part in enumerate(getattr(file, kind)):
            try:
                found[kind, number] = compiled(part.when)
            except Unusable as unusable:
                mistakes.append(written.mistake((kind, number, "when"), str(unusable)))
    if mistakes:
        raise InvalidPolicy(name, mistakes)
    return found


def _repeated(file: PolicyFile, written: Written) -> list[Mistake]:
    """Names that two rules or two segments share."""
    found = []
    for kind in ("rules", "segments"):
        seen = {DEFAULT} if kind == "segments" else set()
        for number, part in enumerate(getattr(file, kind)):
            if part.name in seen:
                found.append(written.mistake((kind, number, "name"), "is taken; give it another name"))
            seen.add(part.name)
    return found


def _shares(part: ThresholdsPart) -> tuple[float, ...]:
    return part.REVIEW, part.BLOCK_AND_REVIEW, part.BLOCK


def _entry(part: EntryPart) -> Entry:
    only = next(iter(FIELDS[part.kind]))
    return Entry(part.kind, part.side or only, part.token, part.since, part.until, part.author, part.reason)
