"""Reasons: contributions of features, as stable codes with texts for analysts and payers.

The texts say what stood out and teach no evasion: no thresholds, no windows, no counts.
"""

from collections import defaultdict
from collections.abc import Sequence

REASON_OF_FEATURE = {
    "amount_log_reais": "AMOUNT",
    "is_round_amount": "AMOUNT",
    "balance_share": "AMOUNT",
    "local_hour": "TIME_OF_DAY",
    "is_night": "TIME_OF_DAY",
    "is_active_call": "DEVICE_SITUATION",
    "device_age_days": "DEVICE_SITUATION",
    "device_distinct_payers_30d": "DEVICE_SITUATION",
    "payee_account_age_days": "PAYEE_PROFILE",
    "payer_count_1h": "PAYER_HABITS",
    "payer_amount_sum_24h": "PAYER_HABITS",
    "payer_count_30d": "PAYER_HABITS",
    "payer_amount_mean_30d": "PAYER_HABITS",
    "payer_amount_ratio_30d": "PAYER_HABITS",
    "payer_seconds_since_inflow": "MONEY_FLOW",
    "payer_in_amount_sum_24h": "MONEY_FLOW",
    "payer_pass_through_24h": "MONEY_FLOW",
    "payee_in_count_1h": "PAYEE_ACTIVITY",
    "payee_distinct_payers_24h": "PAYEE_ACTIVITY",
    "payee_in_count_30d": "PAYEE_ACTIVITY",
    "payee_in_amount_sum_24h": "PAYEE_ACTIVITY",
    "payee_out_amount_sum_24h": "PAYEE_ACTIVITY",
    "payee_out_in_ratio_24h": "PAYEE_ACTIVITY",
    "payee_frauds_90d": "PAYEE_REPORTS",
    "pair_count_90d": "NEW_RELATIONSHIP",
}

TEXTS = {
    "AMOUNT": {
        "pt-BR": "O valor chama atenção nesta situação.",
        "en": "The amount stands out in this situation.",
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
