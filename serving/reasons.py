"""Reasons: contributions of features, as stable codes with texts for analysts and payers.

The texts say what stood out and teach no evasion: no thresholds, no windows, no counts.
"""

from collections import defaultdict
from collections.abc import Sequence

from pix.features import FEATURES, Feature

_OF_GROUP = {
    "request": "PAYMENT_DETAILS",
    "temporal": "TIME_OF_DAY",
    "payer": "PAYER_HABITS",
    "payee": "PAYEE_ACTIVITY",
    "pair": "NEW_RELATIONSHIP",
    "device": "DEVICE_SITUATION",
    "person": "PAYER_HABITS",
    "network": "PAYEE_ACTIVITY",
    "label": "PAYEE_REPORTS",
}
# The first beginning of a name that fits decides; otherwise the feature's group does.
_OF_NAME = (
    (("amount_", "is_round_", "odd_", "balance_", "limit_share"), "AMOUNT"),
    (("payer_balance_", "payer_limit_"), "AMOUNT"),
    (("is_active_call", "is_remote", "is_rooted", "is_device", "is_away", "device_", "has_device"), "DEVICE_SITUATION"),
    (("login_", "typing_", "credentials_"), "DEVICE_SITUATION"),
    (("limit_raise", "funds_raise", "payer_seconds_since_inflow", "payer_in_amount", "payer_in_count"), "MONEY_FLOW"),
    (("payer_pass_", "payer_out_in_", "payer_person_in_amount", "payer_distinct_payers"), "MONEY_FLOW"),
    (("payee_account_age", "payee_is", "payee_has", "key_", "is_key", "is_preregistered"), "PAYEE_PROFILE"),
    (("payee_fraud_m", "payee_mule", "payee_fraud_r", "payee_rej", "payee_open", "payee_marker"), "PAYEE_REPORTS"),
    (("payee_settlements", "fraud_markers_age"), "PAYEE_REPORTS"),
    (("payer_frauds", "payer_contests", "payer_in_frauds", "payer_person_frauds"), "PAYER_REPORTS"),
    (("device_frauds",), "DEVICE_SITUATION"),
    (("pair_frauds", "pair_contests"), "PAYEE_REPORTS"),
    (("payee_person",), "PAYEE_ACTIVITY"),
    (("payer_marked", "payer_young"), "PAYEE_PROFILE"),
    (("payer_",), "PAYER_HABITS"),
)


def _reason_of(feature: Feature) -> str:
    if feature.group in ("temporal", "pair", "payee", "device"):
        return _OF_GROUP[feature.group]
    return next((code for starts, code in _OF_NAME if feature.name.startswith(starts)), _OF_GROUP[feature.group])


REASON_OF_FEATURE = {feature.name: _reason_of(feature) for feature in FEATURES}
"""Feature -> code of the reason that it speaks for."""

TEXTS = {
    "AMOUNT": {
        "pt-BR": "O valor chama atenção nesta situação.",
        "en": "The amount stands out in this situation.",
    },
    "PAYMENT_DETAILS": {
        "pt-BR": "A forma deste pagamento é incomum para quem paga.",
        "en": "The way this payment is made is unusual.",
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
    "NEW_RELATIONSHIP": {
        "pt-BR": "Não há relação anterior entre quem paga e quem recebe.",
        "en": "Payer and payee have no earlier relationship.",
    },
}

SHOWN = 3


def reasons(feature_names: Sequence[str], contributions: Sequence[float]) -> list[dict[str, object]]:
    """The strongest reasons for suspicion.

    Args:
        feature_names: Names in the order of the contributions.
        contributions: What each feature adds to the raw score (log-odds).

    Returns:
        At most ``SHOWN`` reasons that raise the score, strongest first, each with code, text by language
        and the summed contribution of its features.
    """
    by_code: dict[str, float] = defaultdict(float)
    for name, contribution in zip(feature_names, contributions, strict=True):
        by_code[REASON_OF_FEATURE[name]] += contribution
    strongest = sorted(by_code.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return [{"code": code, "text": TEXTS[code], "contribution": value} for code, value in strongest if value > 0]
