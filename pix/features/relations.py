"""Declarations about who stands around an entity: groups network and label."""

from pix.features.declarations import SPANS, Feature
from pix.features.entities import Past, device, pair, payee, payee_person, payer, payer_person

YOUNG = "whose account was younger than 30 days then (by the payment's own facts; an unknown age is not young)"
MARKED = "that had a fraud marker in DICT then"
FLAGGED = "whose account had then received, in 90 days, a payment known as fraud (by its own state)"


def _passing(past: Past, tail: str, out: str, into: str, window: str) -> Feature:
    description = f"What the account paid over what it received in {SPANS[window]}"
    return past.ratio(f"{tail}_{window}", f"_{out}_{window}", f"_{into}_{window}", description, group="network")


NETWORK = (
    *payee.distinct("distinct_payers", "in", "that paid the payee's account", "24h", "7d", "30d", group="network"),
    *payee.distinct("distinct_payees", "out", "that the payee's account paid", "24h", "30d", group="network"),
    *payer.distinct("distinct_payees", "out", "that the payer's account paid", "24h", "7d", "30d", group="network"),
    *payer.distinct("distinct_payers", "in", "that paid the payer's account", "24h", "30d", group="network"),
    *device.distinct("distinct_payers", "out", "that paid from this device", "24h", "7d", "30d", group="network"),
    payer.ratio(
        "pass_through_1h", "amount_cents", "_in_amount_sum_1h",
        "This amount over what the payer's account received in the last hour", group="network",
    ),
    payer.ratio(
        "pass_through_24h", "amount_cents", "_in_amount_sum_24h",
        "This amount over what the payer's account received in the last 24 hours", group="network",
    ),
    *[_passing(payer, "out_in_ratio", "amount_sum", "in_amount_sum", window) for window in ("24h", "7d", "30d")],
    *[
        _passing(payee, "out_in_ratio", "out_amount_sum", "in_amount_sum", window)
        for window in ("1h", "24h", "7d", "30d")
    ],
    payee.ratio(
        "new_payer_share_24h", "_distinct_payers_24h", "_in_count_24h",
        "Distinct payers per payment to the payee's account in the last 24 hours", group="network",
    ),
    payer.ratio(
        "new_payee_share_24h", "_distinct_payees_24h", "_count_24h",
        "Distinct payees per payment of the payer's account in the last 24 hours", group="network",
    ),
    *payer.tallies("young_payees", "out", "young_counterparts", f"to somebody {YOUNG}", "24h", "30d", group="network"),
    *payee.shares("young_payer_share", "in", "young_counterparts", f"from somebody {YOUNG}", "30d", group="network"),
    *payer.tallies(
        "marked_payees", "out", "marked_counterparts", f"to somebody {MARKED}", "7d", "30d", group="network"
    ),
    *device.tallies("marked_payees", "out", "marked_counterparts", f"to somebody {MARKED}", "30d", group="network"),
    *payer.tallies(
        "flagged_payees", "out", "flagged_counterparts", f"to somebody {FLAGGED}", "24h", "30d", group="network"
    ),
    *payee.tallies(
        "flagged_payers", "in", "flagged_counterparts", f"from somebody {FLAGGED}", "24h", "30d", group="network"
    ),
    *payee.shares(
        "flagged_payer_share", "in", "flagged_counterparts", f"from somebody {FLAGGED}", "30d", group="network"
    ),
    *device.tallies("flagged_payees", "out", "flagged_counterparts", f"to somebody {FLAGGED}", "30d", group="network"),
    *payer_person.tallies(
        "flagged_payees", "out", "flagged_counterparts", f"to somebody {FLAGGED}", "30d", group="network"
    ),
)  # fmt: skip

FRAUD = "that became known as fraud (counted when it became known; a reversal takes it away there)"
CONTEST = "that were contested (counted when that first became known, whatever became of it)"


def _frauds(past: Past, flow: str, tail: str, *windows: str) -> list[Feature]:
    return [
        past.window(
            tail,
            w,
            flow,
            "frauds",
            "count",
            "payments",
            f"Payments {past.who(flow)} {FRAUD}",
            population="all",
            group="label",
        )
        for w in windows
    ]


def _contests(past: Past, flow: str, tail: str, *windows: str) -> list[Feature]:
    return [
        past.window(
            tail,
            w,
            flow,
            "contests",
            "count",
            "payments",
            f"Payments {past.who(flow)} {CONTEST}",
            population="all",
            group="label",
        )
        for w in windows
    ]


LABEL = (
    *_frauds(payee, "in", "frauds", "7d", "30d", "90d"),
    *_contests(payee, "in", "contests", "7d", "30d", "90d"),
    payee.ratio("fraud_share_90d", "_frauds_90d", "_in_count_90d", "Known frauds per payment received", group="label"),
    payee.ratio("contest_share_90d", "_contests_90d", "_in_count_90d", "Contests per payment received", group="label"),
    *_frauds(payer, "out", "frauds", "30d", "90d"),
    *_contests(payer, "out", "contests", "30d", "90d"),
    *_frauds(payer, "in", "in_frauds", "30d", "90d"),
    *_frauds(pair, "out", "frauds", "90d"),
    *_contests(pair, "out", "contests", "90d"),
    *_frauds(device, "out", "frauds", "90d"),
    *_frauds(payer_person, "out", "frauds", "90d"),
    *_frauds(payee_person, "in", "frauds", "30d", "90d"),
    *_contests(payee_person, "in", "contests", "90d"),
)
