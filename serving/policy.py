"""The decision policy: thresholds and rules as data, checked when loaded, pure when applied."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import cel
import yaml

from pix.features import FEATURE_NAMES

ACTIONS = ("ALLOW", "REVIEW", "BLOCK_AND_REVIEW", "BLOCK")
"""Every action, from the mildest to the most severe."""

TEST_ACCOUNT = "test_account"
"""Stands among the rule hits of a decision that a test account forced; no rule may be called so."""

FACTS = frozenset(FEATURE_NAMES)

MOST_MINUTES: Mapping[str, tuple[int, int]] = {"REVIEW": (72 * 60, 72 * 60), "BLOCK_AND_REVIEW": (30, 60)}
"""Action -> longest hold, by day and otherwise: a payment under suspicion; after it, the payee's bank has 72 h."""
HOLD_OUTCOMES: Mapping[str, tuple[str, ...]] = {"REVIEW": ("ALLOW",), "BLOCK_AND_REVIEW": ("ALLOW", "BLOCK")}
"""Action -> what may become of its payment when the hold ends; one that was paid cannot be blocked."""


class InvalidPolicy(Exception):
    """A policy file that must not be applied; says where."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition and what follows from it.

    Attributes:
        name: Shown as a rule hit.
        when: The CEL expression.
        action: Applied when the condition holds.
        facts: Names that the condition reads.
        program: The compiled CEL expression.
    """

    name: str
    when: str
    action: str
    facts: tuple[str, ...]
    program: cel.Program

    def hits(self, facts: Mapping[str, float | None]) -> bool:
        """Whether the condition holds; a missing fact means that it does not."""
        known = {name: value for name in self.facts if (value := facts[name]) is not None}
        return len(known) == len(self.facts) and bool(self.program.execute(known))


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
    """What the policy says of one payment."""

    action: str
    rule_hits: tuple[str, ...]

    def forced(self, action: str) -> "Verdict":
        """The verdict on a payment to a test account: its action, and beside the rules that hit, why."""
        return Verdict(action, (*self.rule_hits, TEST_ACCOUNT))


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy.

    Attributes:
        version: First 16 hex digits of the file's SHA-256.
        text: The file as it is.
        thresholds: Fraud probability from which each action applies.
        rules: In the file's order.
        holds: Action -> how long its decisions wait for a person.
    """

    version: str
    text: str
    thresholds: dict[str, float]
    rules: tuple[Rule, ...]
    holds: Mapping[str, HoldTerms]

    def judge(self, probability: float | None, facts: Mapping[str, float | None]) -> Verdict:
        """The most severe action that a threshold or a rule asks for.

        Args:
            probability: Fraud probability, None without a model.
            facts: Value by name, for every name in ``FACTS``.
        """
        hits = [rule for rule in self.rules if rule.hits(facts)]
        asked = ["ALLOW", *(rule.action for rule in hits)]
        if probability is not None:
            asked += [action for action, threshold in self.thresholds.items() if probability >= threshold]
        return Verdict(max(asked, key=ACTIONS.index), tuple(rule.name for rule in hits))

    def described(self) -> dict[str, object]:
        """As JSON takes it."""
        rules = [{"name": rule.name, "when": rule.when, "action": rule.action} for rule in self.rules]
        return {
            "version": self.version,
            "text": self.text,
            "thresholds": self.thresholds,
            "rules": rules,
            "holds": {action: asdict(terms) for action, terms in self.holds.items()},
        }


def load_policy(path: Path) -> Policy:
    """Read and check a policy file.

    Raises:
        InvalidPolicy: The file is missing or some part of it is wrong; says which.
    """
    try:
        text = path.read_bytes().decode()
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as broken:
        raise InvalidPolicy(f"policy {path} cannot be read: {broken}") from broken
    if not isinstance(content, dict) or set(content) - {"thresholds", "rules", "holds"}:
        raise InvalidPolicy(f"policy {path} must hold 'thresholds', 'rules' and 'holds' and nothing else")
    rules = tuple(_rule(path, number, rule) for number, rule in enumerate(content.get("rules") or [], 1))
    version, thresholds = sha256(text.encode()).hexdigest()[:16], _thresholds(path, content.get("thresholds"))
    return Policy(version, text, thresholds, rules, _holds(path, content.get("holds")))


def _thresholds(path: Path, content: Any) -> dict[str, float]:
    if not isinstance(content, dict) or set(content) != set(ACTIONS[1:]):
        raise InvalidPolicy(f"policy {path}: thresholds must name each of {', '.join(ACTIONS[1:])}")
    values = [content[action] for action in ACTIONS[1:]]
    if not all(isinstance(value, float) and 0 < value <= 1 for value in values) or values != sorted(values):
        raise InvalidPolicy(
            f"policy {path}: thresholds must be decimals in (0, 1] that rise with severity, got {values}"
        )
    return dict(content)


def _rule(path: Path, number: int, content: Any) -> Rule:
    where = f"policy {path}, rule {number}"
    if not isinstance(content, dict) or set(content) != {"name", "when", "action"}:
        raise InvalidPolicy(f"{where}: must have exactly name, when and action")
    if content["name"] == TEST_ACCOUNT:
        raise InvalidPolicy(f"{where}: the name {TEST_ACCOUNT} is kept for decisions that a test account forced")
    if content["action"] not in ACTIONS:
        raise InvalidPolicy(
            f"{where} ({content['name']}): action {content['action']!r} is not one of {', '.join(ACTIONS)}"
        )
    try:
        program = cel.compile(content["when"])
    except ValueError as broken:
        raise InvalidPolicy(f"{where} ({content['name']}): {broken}") from broken
    unknown = sorted(set(program.variables()) - FACTS)
    if unknown:
        raise InvalidPolicy(f"{where} ({content['name']}): unknown names {', '.join(unknown)}")
    facts = tuple(sorted(program.variables()))
    try:
        outcome = program.execute(dict.fromkeys(facts, 1.0))
    except (TypeError, ValueError, RuntimeError) as broken:
        raise InvalidPolicy(f"{where} ({content['name']}): {broken}") from broken
    if not isinstance(outcome, bool):
        raise InvalidPolicy(f"{where} ({content['name']}): must be true or false, is {type(outcome).__name__}")
    return Rule(content["name"], content["when"], content["action"], facts, program)


def _holds(path: Path, content: Any) -> dict[str, HoldTerms]:
    if not isinstance(content, dict) or "BLOCK_AND_REVIEW" not in content or set(content) - set(MOST_MINUTES):
        raise InvalidPolicy(
            f"policy {path}: holds must have BLOCK_AND_REVIEW, because such a payment must not wait for ever, and may "
            "have REVIEW"
        )
    return {action: _hold(f"policy {path}, holds.{action}", action, terms) for action, terms in content.items()}


def _hold(where: str, action: str, content: Any) -> HoldTerms:
    if not isinstance(content, dict) or set(content) != set(HoldTerms.__slots__):
        raise InvalidPolicy(f"{where}: must have exactly {', '.join(HoldTerms.__slots__)}")
    for name, most in zip(HoldTerms.__slots__, MOST_MINUTES[action], strict=False):
        minutes = content[name]
        if type(minutes) is not int or not 0 < minutes <= most:
            raise InvalidPolicy(f"{where}.{name}: must be a whole number from 1 to {most}, got {minutes!r}")
    if content["outcome"] not in HOLD_OUTCOMES[action]:
        raise InvalidPolicy(f"{where}.outcome: must be {' or '.join(HOLD_OUTCOMES[action])}")
    return HoldTerms(**content)
