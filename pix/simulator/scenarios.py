"""The typologies as data: whom criminals choose, how fast, how much, and what becomes of the money.

Sources: the reported mix is Febraban's (H1 2025) and Silverguard's (2025), the signals are the field's lists
(see ``docs/simulator.md``); where they are silent, judgement. A scenario says what people do, never what a
label would show: how a session looks follows from its behaviour, a report from ``Outcome``.
"""

from dataclasses import dataclass

from pix.simulator.flow import DICT, MANU, QRDN, QRES, Behaviour, Typology
from pix.simulator.rhythm import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much a victim loses at each payment.

    Attributes:
        median: Reais of a victim's first payment, lognormal.
        sigma: Spread of its logarithm.
        growth: Range of the factor from one payment to the next.
        round_share: Payments of a sum that people name.
        drain_share: Victims whose last payment empties the account.
        probe_share: Victims with test payments of R$ 0.01 to 1 before; never more than ``probes`` of them.
        probes: Test payments at most.
        by_wealth: How strongly the victim's wealth moves the amount.
    """

    median: float
    sigma: float
    growth: tuple[float, float] = (1.0, 1.0)
    round_share: float = 0.5
    drain_share: float = 0.0
    probe_share: float = 0.0
    probes: int = 2
    by_wealth: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The accounts that take the money.

    Attributes:
        accounts: Range of how many receive from victims.
        company_share: Campaigns whose receiving accounts are businesses'.
        for_crime_share: Campaigns on accounts opened for crime; the rest is rented.
        clean_share: Campaigns on an account that never served before, of somebody who may know nothing.
        passed_on: Campaigns in which the money goes on within minutes.
        hops: Range of how often it goes on.
        fan_out: Range of how many accounts each hop pays.
        same_psp: Passing on within one PSP.
    """

    accounts: tuple[int, int] = (1, 2)
    company_share: float = 0.6
    for_crime_share: float = 0.5
    clean_share: float = 0.18
    passed_on: float = 0.8
    hops: tuple[int, int] = (1, 2)
    fan_out: tuple[int, int] = (1, 5)
    same_psp: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the victims do: MED situation, and the chances of a report and of its acceptance."""

    fraud_type: str
    reported: float
    accepted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One typology.

    Attributes:
        typology: Its name.
        share: Of campaigns.
        victims: Range of how many a campaign has.
        ages: Range of their ages in years.
        business_share: Victims that are businesses, which lose ``BUSINESS_FACTOR`` times as much.
        payments: Range of how many each makes.
        gap_ms: Mean time between a victim's payments.
        victim_gap_ms: Mean time between victims.
        amounts, layer, outcome: See there.
        initiations: Shares of initiation forms.
        behaviour: What the victim's session is like.
        stranger_share: Victims whose account is used from a stranger's device.
        registered_share: Of those, with the device registered first (the others meet the cliffs).
        credentials_share, limit_share, funds_share: Victims whose credentials were changed, limit raised, and
            loan or savings turned into balance just before.
        hours: Begin and end of the time of day at which it happens; None where it follows the victims.
        away_share: Victims who are not at home.
        payback: Whether the criminals first pay a little back.
    """

    typology: Typology
    share: float
    victims: tuple[int, int] = (1, 1)
    ages: tuple[int, int] = (16, 95)
    business_share: float = 0.0
    payments: tuple[int, int] = (1, 1)
    gap_ms: float = 10 * MINUTE_MS
    victim_gap_ms: float = 20 * MINUTE_MS
    amounts: Amounts
    layer: Layer
    outcome: Outcome
    initiations: dict[int, float]
    behaviour: Behaviour = Behaviour.EVERYDAY
    stranger_share: float = 0.0
    registered_share: float = 1.0
    credentials_share: float = 0.0
    limit_share: float = 0.0
    funds_share: float = 0.0
    hours: tuple[int, int] | None = None
    away_share: float = 0.08
    payback: bool = False


BUSINESS_FACTOR = 4.0
BY_KEY = {DICT: 0.74, QRDN: 0.14, MANU: 0.12}

SCENARIOS = (
    Scenario(
        typology=Typology.FAKE_SALE, share=0.24, victims=(3, 8), business_share=0.04,
        amounts=Amounts(median=360, sigma=1.6, round_share=0.4),
        layer=Layer(company_share=0.74, accounts=(1, 1)),
        initiations={DICT: 0.5, QRDN: 0.4, QRES: 0.1},
        outcome=Outcome(fraud_type="SCAM", reported=0.86, accepted=0.90),
    ),
    Scenario(
        typology=Typology.FALSE_CALL_CENTRE, share=0.28, ages=(45, 95), business_share=0.08, payments=(1, 5),
        gap_ms=7 * MINUTE_MS,
        amounts=Amounts(median=2_200, sigma=1.4, growth=(1.0, 1.7), drain_share=0.4, by_wealth=0.6),
        layer=Layer(accounts=(1, 3), company_share=0.66), initiations=BY_KEY, behaviour=Behaviour.TALKED_INTO,
        limit_share=0.45, funds_share=0.35,
        outcome=Outcome(fraud_type="SCAM", reported=0.90, accepted=0.90),
    ),
    Scenario(
        typology=Typology.WHATSAPP_RELATIVE, share=0.18, ages=(50, 95), payments=(1, 3), gap_ms=40 * MINUTE_MS,
        amounts=Amounts(median=1_300, sigma=0.9, growth=(0.8, 1.4), round_share=0.75),
        layer=Layer(company_share=0.5), initiations={DICT: 0.93, MANU: 0.07},
        outcome=Outcome(fraud_type="SCAM", reported=0.90, accepted=0.90),
    ),
    Scenario(
        typology=Typology.FAKE_INVESTMENT, share=0.06, ages=(18, 60), payments=(3, 7), gap_ms=1.2 * DAY_MS,
        victims=(1, 3), victim_gap_ms=9 * HOUR_MS, payback=True,
        amounts=Amounts(median=380, sigma=1.0, growth=(1.3, 2.4), drain_share=0.1),
        layer=Layer(company_share=0.66, passed_on=0.7), initiations={DICT: 0.55, QRDN: 0.45}, funds_share=0.15,
        outcome=Outcome(fraud_type="SCAM", reported=0.75, accepted=0.85),
    ),
    Scenario(
        typology=Typology.REMOTE_ACCESS, share=0.05, ages=(30, 95), business_share=0.22, payments=(2, 6),
        gap_ms=45 * SECOND_MS,
        amounts=Amounts(median=3_000, sigma=1.1, growth=(0.9, 1.4), drain_share=0.6, by_wealth=0.6),
        layer=Layer(accounts=(1, 4), company_share=0.62), initiations=BY_KEY, behaviour=Behaviour.ROBOT,
        limit_share=0.2, funds_share=0.2,
        outcome=Outcome(fraud_type="FRAUDULENT_ACCESS", reported=0.94, accepted=0.92),
    ),
    Scenario(
        typology=Typology.ACCOUNT_TAKEOVER, share=0.07, victims=(1, 3), payments=(2, 5), gap_ms=3 * MINUTE_MS,
        victim_gap_ms=4 * HOUR_MS,
        amounts=Amounts(median=800, sigma=1.2, growth=(1.1, 1.8), probe_share=0.5, drain_share=0.2),
        layer=Layer(accounts=(1, 3), company_share=0.55), initiations=BY_KEY, behaviour=Behaviour.INTRUDER,
        stranger_share=1.0, registered_share=0.5, credentials_share=0.45, away_share=0.55,
        outcome=Outcome(fraud_type="ACCOUNT_TAKEOVER", reported=0.94, accepted=0.92),
    ),
    Scenario(
        typology=Typology.COERCION, share=0.03, payments=(1, 4), gap_ms=12 * MINUTE_MS, hours=(18, 6),
        amounts=Amounts(median=1_500, sigma=0.8, growth=(0.8, 1.2), drain_share=0.3),
        layer=Layer(accounts=(1, 3), company_share=0.25), initiations={DICT: 0.8, MANU: 0.2},
        behaviour=Behaviour.COERCED, limit_share=0.2, funds_share=0.25, away_share=0.6,
        outcome=Outcome(fraud_type="COERCION", reported=0.95, accepted=0.93),
    ),
    Scenario(
        typology=Typology.APPLICATION_FRAUD, share=0.03, payments=(1, 3), gap_ms=25 * MINUTE_MS,
        amounts=Amounts(median=2_500, sigma=1.0, round_share=0.3),
        layer=Layer(accounts=(1, 2), company_share=0.4), initiations=BY_KEY, behaviour=Behaviour.RELAY,
        stranger_share=1.0, funds_share=0.8,
        outcome=Outcome(fraud_type="OTHER", reported=0.75, accepted=0.95),
    ),
    Scenario(
        typology=Typology.QR_TAMPERING, share=0.03, victims=(4, 12), victim_gap_ms=25 * MINUTE_MS,
        amounts=Amounts(median=48, sigma=0.8, round_share=0.2), hours=(8, 20),
        layer=Layer(accounts=(1, 1), company_share=0.45, clean_share=0.1), initiations={QRES: 1.0},
        outcome=Outcome(fraud_type="SCAM", reported=0.5, accepted=0.85),
    ),
    Scenario(
        typology=Typology.PROBING, share=0.02, payments=(1, 2), gap_ms=2 * MINUTE_MS,
        amounts=Amounts(median=3_000, sigma=0.9, probe_share=1.0, probes=6, drain_share=0.3),
        layer=Layer(accounts=(2, 4), company_share=0.5), initiations=BY_KEY, behaviour=Behaviour.ROBOT,
        outcome=Outcome(fraud_type="FRAUDULENT_ACCESS", reported=0.9, accepted=0.9),
    ),
    Scenario(
        typology=Typology.TRIANGULATION, share=0.03, victims=(1, 4), victim_gap_ms=2 * HOUR_MS,
        amounts=Amounts(median=700, sigma=1.0, round_share=0.25),
        layer=Layer(accounts=(1, 1), company_share=0.9, clean_share=1.0, passed_on=0.0),
        initiations={DICT: 0.4, QRDN: 0.6},
        outcome=Outcome(fraud_type="SCAM", reported=0.6, accepted=0.5),
    ),
)  # fmt: skip
"""Eleven that begin with a victim; the twelfth, ``MULE_PASS_THROUGH``, is the layer of the others."""

TRACED = Outcome(fraud_type="OTHER", reported=0.85, accepted=0.92)
"""Money passed on: found when the dispute of a victim is traced (MED 2.0)."""
