"""Reasons: what rules and contributions say, as stable codes with texts for analysts and payers.

Every feature speaks for one code, by the first line of ``LINES`` that fits its declaration; so a new feature has a
reason without a change here. The texts say what stood out and teach no evasion: no thresholds, windows, counts or
names of features. ``docs/reasons.md`` is written from here by ``make contracts``.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from learning.ensemble import Vector, vector_of
from pix.features import FEATURE_NAMES, FEATURES, Feature, RatioFeature, TimeFeature
from serving.policy import Policy
from serving.policy_conditions import PAYMENT_NAMES

PAYER, PAYEE = frozenset({"payer_account", "payer_person"}), frozenset({"payee_account", "payee_person"})
ANY: frozenset[str] = frozenset()
SHOWN = 3


HEAD = """# Reasons

Written by `make contracts` from `serving/reasons.py`; do not edit. A code never changes its meaning. Payers and
analysts are shown the text; the features behind it are for engineers and auditors, because naming them would teach
evasion.

A decision of REVIEW or above carries up to three reasons: first those that a rule which hit speaks for, whatever they
add to the score, then those that raise the score, each strongest first. The contribution is what all features of the
code add to the raw score together (log-odds); contributions of all codes and the model's expected value sum to the
raw score. An allowed payment carries none; asked for, they are computed from its logged vector, by the same function.

| Code | Portuguese | English | Features |
|---|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Line:
    """Which features speak for a code; an empty set stands for anything.

    Attributes:
        code: The reason.
        groups: Groups of features.
        entities: Whose state they read.
        measures: What they measure.
        is_inflow: Only what says how money comes in.
    """

    code: str
    groups: frozenset[str] = ANY
    entities: frozenset[str] = ANY
    measures: frozenset[str] = ANY
    is_inflow: bool = False

    def fits(self, feature: Feature) -> bool:
        """Whether the feature speaks for this line's code, if no line before fits."""
        asked = ((self.groups, feature.group), (self.entities, feature.entity), (self.measures, feature.measure))
        return all(not allowed or found in allowed for allowed, found in asked) and (
            not self.is_inflow or _is_inflow(feature)
        )


def _is_inflow(feature: Feature) -> bool:
    if isinstance(feature, RatioFeature):
        return "_in_" in feature.denominator
    if isinstance(feature, TimeFeature):
        return feature.moment.endswith("_in")
    return getattr(feature, "flow", "") == "in"


def _these(*names: str) -> frozenset[str]:
    return frozenset(names)


LINES = (
    Line("TIME_OF_DAY", groups=_these("temporal")),
    # What is known of frauds, from the labels and from the counterparts' marks.
    Line("DEVICE_SITUATION", entities=_these("device")),
    Line("PAYEE_REPORTS", groups=_these("label"), entities=PAYEE | {"pair"}),
    Line("PAYER_REPORTS", groups=_these("label"), entities=PAYER),
    Line("PAYEE_REPORTS", entities=PAYER, measures=_these("flagged_counterparts", "marked_counterparts")),
    Line("PAYEE_PROFILE", entities=PAYER, measures=_these("young_counterparts")),
    # What happened before, by whose state tells it.
    Line("MONEY_FLOW", entities=PAYER, is_inflow=True),
    Line("PAYER_HABITS", entities=PAYER),
    Line("PAYEE_ACTIVITY", entities=PAYEE),
    Line("NEW_RELATIONSHIP", entities=_these("pair")),
    # The payment itself.
    Line(
        "AMOUNT",
        measures=_these("amount_cents", "is_round_amount", "odd_centavos", "payer_balance_cents", "payer_limit_cents"),
    ),
    Line(
        "PAYEE_REPORTS",
        measures=_these(
            "payee_settlements_d90",
            "payee_fraud_markers_d90",
            "payee_mule_markers_d90",
            "payee_fraud_reporters_d90",
            "payee_rejected_reports_d90",
            "payee_open_reports",
            "fraud_markers_watermark_ms",
        ),
    ),
    Line(
        "PAYEE_PROFILE",
        measures=_these(
            "payee_account_opened_at_ms",
            "payee_account_type",
            "payee_person_type",
            "payee_is_preregistered",
            "key_created_at_ms",
            "key_owned_since_ms",
            "is_key_claimed",
        ),
    ),
    Line(
        "DEVICE_SITUATION",
        measures=_these(
            "device_registered_at_ms",
            "credentials_changed_at_ms",
            "active_call",
            "device_remote_access",
            "device_rooted",
            "has_device",
            "is_device_unregistered",
            "login_age_ms",
            "typing_interval_ms",
            "is_away_from_home",
            "is_away_region",
        ),
    ),
    Line("MONEY_FLOW", measures=_these("limit_raised_at_ms", "funds_raised_at_ms")),
    Line("PAYER_HABITS", measures=_these("payer_account_opened_at_ms", "payer_person_type", "payer_age_years")),
    Line("PAYMENT_DETAILS"),
)

TEXTS: Mapping[str, Mapping[str, str]] = {
    "AMOUNT": {
        "pt-BR": "O valor chama atenção nesta situação.",
        "en": "The amount stands out in this situation.",
    },
    "PAYMENT_DETAILS": {
        "pt-BR": "A forma deste pagamento é incomum para quem paga.",
        "en": "The way this payment is made is unusual for the payer.",
    },
    "TIME_OF_DAY": {
        "pt-BR": "O horário é incomum para este tipo de pagamento.",
        "en": "The time of day is unusual for this kind of payment.",
    },
    "DEVICE_SITUATION": {
        "pt-BR": "O aparelho ou a situação de uso difere do esperado.",
        "en": "The device or the way it is used differs from what is expected.",
    },
    "PAYEE_PROFILE": {
        "pt-BR": "O perfil da conta recebedora pede atenção.",
        "en": "The profile of the payee's account calls for attention.",
    },
    "PAYER_HABITS": {
        "pt-BR": "O pagamento difere dos hábitos da conta pagadora.",
        "en": "The payment differs from the habits of the payer's account.",
    },
    "MONEY_FLOW": {
        "pt-BR": "O dinheiro passa pela conta de forma incomum.",
        "en": "Money moves through the account in an unusual way.",
    },
    "PAYEE_ACTIVITY": {
        "pt-BR": "A movimentação da conta recebedora é incomum.",
        "en": "The activity of the payee's account is unusual.",
    },
    "PAYEE_REPORTS": {
        "pt-BR": "Há relatos de fraude ligados à conta recebedora.",
        "en": "Frauds have been reported in connection with the payee's account.",
    },
    "PAYER_REPORTS": {
        "pt-BR": "Há relatos de fraude ligados à conta pagadora.",
        "en": "Frauds have been reported in connection with the payer's account.",
    },
    "LISTED": {
        "pt-BR": "Há um registro interno ligado a este pagamento.",
        "en": "There is an internal record in connection with this payment.",
    },
    "NEW_RELATIONSHIP": {
        "pt-BR": "A relação entre quem paga e quem recebe é nova ou diferente da habitual.",
        "en": "The relationship between payer and payee is new, or other than it used to be.",
    },
}

REASON_OF_FEATURE: Mapping[str, str] = {
    feature.name: next(line.code for line in LINES if line.fits(feature)) for feature in FEATURES
}
"""Feature -> code of the reason that it speaks for."""
_CODES = tuple(REASON_OF_FEATURE[name] for name in FEATURE_NAMES)
REASON_OF_FACT: Mapping[str, str] = {
    **{name: next((line.code for line in LINES if name in line.measures), "PAYMENT_DETAILS") for name in PAYMENT_NAMES},
    **REASON_OF_FEATURE,
}
"""What a rule reads -> code of the reason that it speaks for: facts of the payment as features that measure them."""
REASON_OF_LIST: Mapping[str, str] = dict.fromkeys(("block_list", "watch_list"), "LISTED")
"""A rule hit that is a list -> code of its reason."""


def by_code(contributions: Sequence[float]) -> dict[str, float]:
    """Code -> what its features add to the raw score, log-odds; with the model's expected value they sum to it.

    Args:
        contributions: One per feature of this service, in its order.
    """
    total = dict.fromkeys(TEXTS, 0.0)
    for code, contribution in zip(_CODES, contributions, strict=True):
        total[code] += contribution
    return total


def reasons(contributions: Sequence[float] | None, of_rules: Collection[str]) -> list[dict[str, object]]:
    """The strongest reasons for suspicion; equal arguments give equal reasons, inline and on demand.

    Args:
        contributions: One per feature of this service, in its order; None without a model.
        of_rules: Codes that the rules and lists that hit speak for.

    Returns:
        At most ``SHOWN``, each with code, text by language and the summed contribution of its features: first what
        rules that hit speak for, whatever it adds to the score, then what raises the score, each strongest first.
    """
    total = by_code(contributions) if contributions is not None else dict.fromkeys(TEXTS, 0.0)
    told = [code for code in TEXTS if code in of_rules or total[code] > 0]
    told.sort(key=lambda code: (code not in of_rules, -total[code], code))
    return [{"code": code, "text": dict(TEXTS[code]), "contribution": total[code]} for code in told[:SHOWN]]


class Explains(Protocol):
    """A model that says what each feature adds."""

    def contributions(self, vector: Vector) -> list[float]:
        """What each feature adds to the raw score."""


def explained(
    model: Explains | None, features: Sequence[float | None], rule_hits: Iterable[str], policy: Policy
) -> list[dict[str, object]]:
    """Reasons of a decision from what it logged: the same ones whether they are asked for at once or years later.

    Args:
        model: The version that scored it; None if there was none.
        features: Its feature vector.
        rule_hits: Names of the rules that hit.
        policy: The version that judged it.
    """
    hits = frozenset(rule_hits)
    of_rules = {REASON_OF_FACT[fact] for rule in policy.rules if rule.name in hits for fact in rule.facts}
    of_rules |= {code for name, code in REASON_OF_LIST.items() if name in hits}
    return reasons(model.contributions(vector_of(features)) if model else None, of_rules)


def page() -> str:
    """``docs/reasons.md``."""
    rows = [
        f"| `{code}` | {text['pt-BR']} | {text['en']} | "
        f"{', '.join(f'`{name}`' for name, spoken in REASON_OF_FEATURE.items() if spoken == code) or 'none: lists'} |"
        for code, text in TEXTS.items()
    ]
    return "\n".join([HEAD, *rows, ""])
