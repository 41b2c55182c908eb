"""Declarations over the past of one entity: groups payer, payee, pair, device, person."""

from pix.features.declarations import (
    DISTINCT_CAP,
    SPANS,
    WINDOWS,
    Feature,
    LifetimeFeature,
    RatioFeature,
    ScoreFeature,
    TimeFeature,
    WindowFeature,
)

OWNERS = {
    "payer_account": "the payer's account",
    "payee_account": "the payee's account",
    "pair": "this payer's account to this payee's account",
    "device": "this device",
    "payer_person": "the payer in person (all accounts)",
    "payee_person": "the payee in person (all accounts)",
}
POPULATION_TEXT = {
    "allowed": "",
    "attempted": " that were held or blocked,",
    "all": ", with held and blocked ones,",
}


class Past:
    """Writes the declarations of one role; ``prefix`` begins their names."""

    def __init__(self, group: str, entity: str, prefix: str) -> None:
        self.group = group
        self.entity = entity
        self.prefix = prefix

    def who(self, flow: str) -> str:
        """The entity and its side of the payments, in words."""
        return f"{'from' if flow == 'out' else 'to'} {OWNERS[self.entity]}"

    def window(
        self,
        tail: str,
        window: str,
        flow: str,
        measure: str,
        aggregate: str,
        unit: str,
        what: str,
        *,
        population: str = "allowed",
        group: str | None = None,
    ) -> WindowFeature:
        """One aggregate over one window; ``what`` becomes the beginning of the description."""
        length, hop = WINDOWS[window]
        missing = "" if aggregate in ("count", "sum", "distinct") else "; missing without a payment"
        missing = "; missing where imported history is in the window" if population == "attempted" else missing
        nobody = "" if self.entity in ("payer_account", "payee_account", "pair") else "; missing if nobody is known"
        nobody = "; missing without a device" if self.entity == "device" else nobody
        return WindowFeature(
            name=f"{self.prefix}_{tail}_{window}",
            group=group or self.group,
            entity=self.entity,
            flow=flow,
            measure=measure,
            aggregate=aggregate,
            window_ms=length,
            hop_ms=hop,
            population=population,
            unit=unit,
            description=f"{what} in {SPANS[window]}{missing}{nobody}.",
        )

    def counts(self, tail: str, flow: str, *windows: str, population: str = "allowed") -> list[Feature]:
        """Payments of a flow."""
        what = f"Payments {self.who(flow)}{POPULATION_TEXT[population]}"
        return [
            self.window(tail, w, flow, "payments", "count", "payments", what, population=population) for w in windows
        ]

    def sums(self, tail: str, flow: str, *windows: str) -> list[Feature]:
        """Sums of amounts."""
        what = f"Sum {self.who(flow)}"
        return [self.window(tail, w, flow, "amount_cents", "sum", "centavos", what) for w in windows]

    def means(self, tail: str, flow: str, *windows: str) -> list[Feature]:
        """Mean amounts."""
        what = f"Mean amount {self.who(flow)}"
        return [self.window(tail, w, flow, "amount_cents", "mean", "centavos", what) for w in windows]

    def largest(self, tail: str, flow: str, *windows: str) -> list[Feature]:
        """Largest amounts."""
        what = f"Largest amount {self.who(flow)}"
        return [self.window(tail, w, flow, "amount_cents", "max", "centavos", what) for w in windows]

    def spreads(self, mean: str, deviation: str, flow: str, *windows: str) -> list[Feature]:
        """Mean and standard deviation of whole reais."""
        clipped = "amount in whole reais, each clipped at a million,"
        return [
            feature
            for w in windows
            for feature in (
                self.window(mean, w, flow, "reais", "mean", "reais", f"Mean {clipped} {self.who(flow)}"),
                self.window(
                    deviation, w, flow, "reais", "deviation", "reais",
                    f"Standard deviation (of the population) of the {clipped} {self.who(flow)}",
                ),
            )
        ]  # fmt: skip

    def shares(
        self, tail: str, flow: str, measure: str, which: str, *windows: str, group: str | None = None
    ) -> list[Feature]:
        """Share of the payments that have a property."""
        what = f"Share of the payments {self.who(flow)} {which}"
        return [self.window(tail, w, flow, measure, "share", "ratio", what, group=group) for w in windows]

    def tallies(self, tail: str, flow: str, measure: str, which: str, *windows: str, group: str) -> list[Feature]:
        """Payments that have a property."""
        what = f"Payments {self.who(flow)} {which}"
        return [self.window(tail, w, flow, measure, "count", "payments", what, group=group) for w in windows]

    def distinct(self, tail: str, flow: str, whom: str, *windows: str, group: str | None = None) -> list[Feature]:
        """Distinct counterparts."""
        what = f"Distinct accounts {whom}, at most {DISTINCT_CAP},"
        return [self.window(tail, w, flow, "counterpart", "distinct", "accounts", what, group=group) for w in windows]

    def since(self, tail: str, moment: str, what: str) -> Feature:
        """Seconds since a moment."""
        return TimeFeature(
            name=f"{self.prefix}_{tail}",
            group=self.group,
            entity=self.entity,
            moment=moment,
            population="attempted" if moment == "last_attempt" else "all",
            description=f"Seconds since {what}; missing where there was none.",
        )

    def known(self, tail: str, flow: str) -> Feature:
        """Payments since the state began."""
        return LifetimeFeature(
            name=f"{self.prefix}_{tail}",
            group=self.group,
            entity=self.entity,
            flow=flow,
            description=f"All payments {self.who(flow)} so far; counting begins anew after 120 days without an event.",
        )

    def ratio(self, tail: str, numerator: str, denominator: str, description: str, group: str | None = None) -> Feature:
        """A feature over another; names of this role are given without the prefix if they begin with ``_``."""
        full = [self.prefix + name if name.startswith("_") else name for name in (numerator, denominator)]
        return RatioFeature(
            name=f"{self.prefix}_{tail}",
            group=group or self.group,
            entity=self.entity,
            measure=" / ".join(full),
            numerator=full[0],
            denominator=full[1],
            description=f"{description} ({full[0]} / {full[1]}); missing unless the latter is positive.",
        )

    def score(self, tail: str, mean: str, deviation: str) -> Feature:
        """How unusual the amount is."""
        mean, deviation = self.prefix + mean, self.prefix + deviation
        return ScoreFeature(
            name=f"{self.prefix}_{tail}",
            group=self.group,
            entity=self.entity,
            mean=mean,
            deviation=deviation,
            description=f"Standard deviations by which this amount exceeds the entity's own mean "
            f"((amount_reais - {mean}) / {deviation}); missing unless the latter is positive.",
        )


payer = Past("payer", "payer_account", "payer")
payee = Past("payee", "payee_account", "payee")
pair = Past("pair", "pair", "pair")
device = Past("device", "device", "device")
payer_person = Past("person", "payer_person", "payer_person")
payee_person = Past("person", "payee_person", "payee_person")

PAYER = (
    *payer.counts("count", "out", "1m", "10m", "1h", population="all"),
    *payer.counts("count", "out", "6h", "24h", "7d", "30d", "90d"),
    *payer.counts("attempts", "out", "1h", "24h", "7d", population="attempted"),
    *payer.sums("amount_sum", "out", "1m", "10m", "1h", "6h", "24h", "7d", "30d", "90d"),
    *payer.means("amount_mean", "out", "24h", "7d", "30d", "90d"),
    *payer.spreads("reais_mean", "reais_deviation", "out", "30d"),
    *payer.largest("amount_max", "out", "24h", "30d", "90d"),
    *payer.shares("night_share", "out", "night_payments", "made from 20h to 6h in Brasília,", "30d"),
    *payer.shares("round_share", "out", "round_payments", "of a multiple of R$ 100", "30d"),
    payer.since("seconds_since_payment", "last_out", "the payer's account last tried to pay"),
    payer.since("seconds_since_first_payment", "first_out", "the payer's account first tried to pay"),
    payer.since(
        "seconds_since_attempt", "last_attempt", "a payment from or to the payer's account was last held or blocked"
    ),
    payer.since("seconds_since_inflow", "last_in", "the payer's account last received a payment"),
    payer.known("payments_known", "out"),
    *payer.counts("in_count", "in", "1h", "24h", "7d", "30d"),
    *payer.sums("in_amount_sum", "in", "1h", "24h", "7d", "30d"),
    *payer.largest("in_amount_max", "in", "30d"),
    payer.ratio("amount_ratio_30d", "amount_cents", "_amount_mean_30d", "This amount over the payer's mean of 30 days"),
    payer.ratio("amount_ratio_90d", "amount_cents", "_amount_mean_90d", "This amount over the payer's mean of 90 days"),
    payer.ratio(
        "amount_max_ratio_30d", "amount_cents", "_amount_max_30d", "This amount over the payer's largest of 30 days"
    ),
    payer.ratio(
        "amount_max_ratio_90d", "amount_cents", "_amount_max_90d", "This amount over the payer's largest of 90 days"
    ),
    payer.ratio(
        "amount_sum_ratio_24h",
        "amount_cents",
        "_amount_sum_24h",
        "This amount over all that the payer paid in 24 hours",
    ),
    payer.ratio("burst_10m_24h", "_count_10m", "_count_24h", "The payer's pace of 10 minutes against that of 24 hours"),
    payer.ratio("burst_1h_7d", "_count_1h", "_count_7d", "The payer's pace of an hour against that of 7 days"),
    payer.ratio("burst_24h_30d", "_count_24h", "_count_30d", "The payer's pace of 24 hours against that of 30 days"),
    payer.ratio(
        "spend_24h_30d", "_amount_sum_24h", "_amount_sum_30d", "What the payer paid in 24 hours over that of 30 days"
    ),
    payer.score("amount_score_30d", "_reais_mean_30d", "_reais_deviation_30d"),
)

PAYEE = (
    *payee.counts("in_count", "in", "1m", "10m", "1h", "6h", "24h", "7d", "30d", "90d"),
    *payee.counts("in_attempts", "in", "1h", "24h", "7d", population="attempted"),
    *payee.sums("in_amount_sum", "in", "10m", "1h", "6h", "24h", "7d", "30d", "90d"),
    *payee.means("in_amount_mean", "in", "24h", "30d", "90d"),
    *payee.spreads("in_reais_mean", "in_reais_deviation", "in", "30d"),
    *payee.largest("in_amount_max", "in", "24h", "30d", "90d"),
    *payee.shares("in_night_share", "in", "night_payments", "made from 20h to 6h in Brasília,", "30d"),
    *payee.shares("in_round_share", "in", "round_payments", "of a multiple of R$ 100", "30d"),
    payee.since("seconds_since_inflow", "last_in", "somebody last tried to pay the payee's account"),
    payee.since("seconds_since_first_inflow", "first_in", "somebody first tried to pay the payee's account"),
    payee.since("seconds_since_outflow", "last_out", "the payee's account last tried to pay"),
    payee.since(
        "seconds_since_attempt", "last_attempt", "a payment from or to the payee's account was last held or blocked"
    ),
    payee.known("in_payments_known", "in"),
    *payee.counts("out_count", "out", "1h", "24h", "7d", "30d"),
    *payee.sums("out_amount_sum", "out", "1h", "24h", "7d", "30d"),
    payee.ratio(
        "in_amount_ratio_30d", "amount_cents", "_in_amount_mean_30d", "This amount over the payee's mean of 30 days"
    ),
    payee.ratio(
        "in_amount_max_ratio_30d",
        "amount_cents",
        "_in_amount_max_30d",
        "This amount over the payee's largest of 30 days",
    ),
    payee.ratio(
        "in_burst_1h_24h", "_in_count_1h", "_in_count_24h", "The payee's inflow of an hour against that of 24 hours"
    ),
    payee.ratio(
        "in_burst_24h_30d", "_in_count_24h", "_in_count_30d", "The payee's inflow of 24 hours against that of 30 days"
    ),
    payee.ratio(
        "in_income_24h_30d",
        "_in_amount_sum_24h",
        "_in_amount_sum_30d",
        "What the payee got in 24 hours over that of 30 days",
    ),
    payee.score("in_amount_score_30d", "_in_reais_mean_30d", "_in_reais_deviation_30d"),
)

PAIR = (
    *pair.counts("count", "out", "1h", "24h", "7d", "30d", "90d"),
    *pair.counts("attempts", "out", "24h", "7d", population="attempted"),
    *pair.sums("amount_sum", "out", "24h", "30d", "90d"),
    *pair.means("amount_mean", "out", "90d"),
    *pair.largest("amount_max", "out", "90d"),
    *pair.spreads("reais_mean", "reais_deviation", "out", "90d"),
    pair.since("seconds_since_payment", "last_out", "this payer last tried to pay this payee"),
    pair.since("seconds_since_first_payment", "first_out", "this payer first tried to pay this payee"),
    pair.known("payments_known", "out"),
    pair.ratio("amount_ratio_90d", "amount_cents", "_amount_mean_90d", "This amount over the pair's mean of 90 days"),
    pair.ratio(
        "amount_max_ratio_90d", "amount_cents", "_amount_max_90d", "This amount over the pair's largest of 90 days"
    ),
    pair.score("amount_score_90d", "_reais_mean_90d", "_reais_deviation_90d"),
    pair.ratio(
        "payer_share_30d", "_count_30d", "payer_count_30d", "This payee's share of the payer's payments in 30 days"
    ),
    pair.ratio(
        "payee_share_30d", "_count_30d", "payee_in_count_30d", "This payer's share of the payee's inflow in 30 days"
    ),
)

DEVICE = (
    *device.counts("count", "out", "10m", "1h", "24h", "7d", "30d"),
    *device.counts("attempts", "out", "24h", "7d", population="attempted"),
    *device.sums("amount_sum", "out", "1h", "24h", "30d"),
    *device.means("amount_mean", "out", "30d"),
    *device.largest("amount_max", "out", "30d"),
    *device.shares("night_share", "out", "night_payments", "made from 20h to 6h in Brasília,", "30d"),
    device.since("seconds_since_payment", "last_out", "somebody last tried to pay from this device"),
    device.since("seconds_since_first_payment", "first_out", "somebody first tried to pay from this device"),
    device.known("payments_known", "out"),
    device.ratio(
        "amount_ratio_30d", "amount_cents", "_amount_mean_30d", "This amount over the device's mean of 30 days"
    ),
    device.ratio(
        "payer_share_24h",
        "_count_24h",
        "payer_count_24h",
        "The device's payments over those of the payer's account, 24 hours",
    ),
)

PERSON = (
    *payer_person.counts("count", "out", "1h", "24h", "30d"),
    *payer_person.sums("amount_sum", "out", "24h", "30d"),
    *payer_person.sums("in_amount_sum", "in", "24h", "30d"),
    *payer_person.largest("amount_max", "out", "30d"),
    *payer_person.distinct("distinct_payees", "out", "that the payer in person paid", "24h", "30d"),
    payer_person.since("seconds_since_first_payment", "first_out", "the payer in person first tried to pay"),
    payer_person.ratio(
        "account_share_30d",
        "payer_count_30d",
        "_count_30d",
        "The paying account's share of the payer's payments, 30 days",
    ),
    *payee_person.counts("in_count", "in", "1h", "24h", "30d"),
    *payee_person.sums("in_amount_sum", "in", "24h", "30d"),
    *payee_person.sums("out_amount_sum", "out", "24h", "30d"),
    *payee_person.distinct("distinct_payers", "in", "that paid the payee in person", "24h", "30d"),
    payee_person.since("seconds_since_first_inflow", "first_in", "somebody first tried to pay the payee in person"),
    payee_person.ratio(
        "account_share_30d",
        "payee_in_count_30d",
        "_in_count_30d",
        "The paid account's share of the payee's inflow, 30 days",
    ),
)
