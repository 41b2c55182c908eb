"""Who holds accounts: a function of seed and size alone, so a later run meets the same accounts.

A *slot* is a customer relation. Its account lives for a while, then closes and another customer's account
opens in its place, so at any time some accounts are young. Which account a slot holds at a time, and
every identifier, follow from (seed, slot, time); nothing here knows which window is simulated.
Slots lie on a ring that is Brazil's map: neighbours on the ring are neighbours in life.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pix.simulator import published
from pix.simulator.rhythm import DAY_MS, Bools, Floats, Ints

Slots = NDArray[np.int32]

CONTACTS = 8
MIN_ACCOUNTS = 50
NEIGHBOURHOOD = 60
YOUNG_SHARE = 0.30
MULE_SHARE = 0.009
MEI_SHARE = 0.6
KEY_TYPES = ("CPF", "CNPJ", "PHONE", "EMAIL", "EVP")
_PERSON_KEYS = (0.30, 0.0, 0.22, 0.14, 0.34)
_COMPANY_KEYS = (0.0, 0.42, 0.10, 0.14, 0.34)
ACCOUNT_TYPES = ("CACC", "SVGS", "TRAN")
_SPELLS = 3
_SPELL_CYCLE_MS = 60 * DAY_MS
# Entries of a table of draws per slot, on average: the resolution of weights.
_ENTRIES = 6
# IBGE codes with weights of about their people in millions; the first digit is the region.
MUNICIPALITIES = {
    "Southeast": {"3550308": 11.5, "3304557": 6.2, "3106200": 2.3, "3518800": 1.3, "3509502": 1.1, "3205309": 0.4,
                  "3170206": 0.7},
    "Northeast": {"2927408": 2.4, "2304400": 2.4, "2611606": 1.5, "2111300": 1.0, "2704302": 1.0, "2211001": 0.9,
                  "2408102": 0.8, "2507507": 0.8, "2800308": 0.6, "2910800": 0.6},
    "South": {"4106902": 1.8, "4314902": 1.3, "4205407": 0.5, "4113700": 0.6, "4209102": 0.6},
    "North": {"1302603": 2.1, "1501402": 1.3, "1100205": 0.5, "1600303": 0.4, "1400100": 0.4, "1200401": 0.4,
              "1721000": 0.3},
    "Centre-West": {"5300108": 2.8, "5208707": 1.4, "5002704": 0.9, "5103403": 0.7},
}  # fmt: skip
MUNICIPALITY_CODES = tuple(code for towns in MUNICIPALITIES.values() for code in towns)


@dataclass(frozen=True, kw_only=True)
class Population:
    """Columns over slots; ``*_phase_ms`` shifts a cycle of ``*_life_ms`` from the epoch.

    Attributes:
        company: A business; ``mei`` marks the sole traders among them, to whom persons' limits apply.
        bank: Place in ``published.PSPS``.
        municipality: Place in ``MUNICIPALITY_CODES``.
        age_years: Of a person; 0 for businesses.
        wealth: Standard normal: how much more or less than others the holder has and pays.
        activity, popularity: How often the holder pays, and is paid by strangers.
        limit_cents, night_limit_cents: For one day and for one night.
        person_contacts, company_contacts: Who is paid regularly, (slots, CONTACTS), dearest first.
        employer, salary_cents: Of a person.
        mules: Slots whose accounts serve crime in spells (``spell_*_ms``, (mules, 3)).
        for_crime: Which of ``mules`` were opened for it.
    """

    seed: int
    company: Bools
    mei: Bools
    bank: Ints
    municipality: Ints
    account_type: Ints
    age_years: Ints
    life_ms: Ints
    life_phase_ms: Ints
    device_life_ms: Ints
    device_phase_ms: Ints
    key_type: Ints
    key_life_ms: Ints
    key_phase_ms: Ints
    wealth: Floats
    activity: Floats
    popularity: Floats
    limit_cents: Ints
    night_limit_cents: Ints
    person_contacts: Slots
    company_contacts: Slots
    employer: Slots
    salary_cents: Ints
    mules: Ints
    for_crime: Bools
    spell_start_ms: Ints
    spell_length_ms: Ints

    @property
    def size(self) -> int:
        """Number of slots, that is, of accounts open at any time."""
        return len(self.company)

    @cached_property
    def serves_crime(self) -> Bools:
        """Whether a slot is one of ``mules``."""
        served = np.zeros(self.size, dtype=np.bool_)
        served[self.mules] = True
        return served

    @cached_property
    def persons(self) -> Slots:
        """Every person once."""
        return np.flatnonzero(~self.company).astype(np.int32)

    @cached_property
    def companies(self) -> Slots:
        """Every business once."""
        return np.flatnonzero(self.company).astype(np.int32)

    @cached_property
    def person_payers(self) -> Slots:
        """Persons, each as often as it pays."""
        return _table(~self.company, self.activity)

    @cached_property
    def company_payers(self) -> Slots:
        """Businesses, each as often as it pays."""
        return _table(self.company, self.activity)

    @cached_property
    def person_payees(self) -> Slots:
        """Persons, each as often as strangers pay it."""
        return _table(~self.company, self.popularity)

    @cached_property
    def company_payees(self) -> Slots:
        """Businesses, each as often as strangers pay it."""
        return _table(self.company, self.popularity)

    def account_number(self, slots: Ints, at_ms: Ints) -> Ints:
        """Which account in a row of its slot is open at a time."""
        return (at_ms - self.life_phase_ms[slots]) // self.life_ms[slots]

    def opened_ms(self, slots: Ints, at_ms: Ints) -> Ints:
        """When the account that is open at a time was opened."""
        return self.account_number(slots, at_ms) * self.life_ms[slots] + self.life_phase_ms[slots]

    def device_registered_ms(self, slots: Ints, at_ms: Ints, opened_ms: Ints) -> Ints:
        """When the holder's present device was registered: never before the account opened."""
        life, phase = self.device_life_ms[slots], self.device_phase_ms[slots]
        registered: Ints = np.maximum((at_ms - phase) // life * life + phase, opened_ms)
        return registered

    def key_created_ms(self, slots: Ints, at_ms: Ints, opened_ms: Ints) -> Ints:
        """When the account's present Pix key was created: never before the account opened."""
        life, phase = self.key_life_ms[slots], self.key_phase_ms[slots]
        created: Ints = np.maximum((at_ms - phase) // life * life + phase, opened_ms)
        return created

    def hot_mules(self, at_ms: int, *, company: bool, for_crime: bool | None = None) -> Ints:
        """Mules inside one of their spells of use at a time; all of their sort where none is."""
        among = self.company[self.mules] == company
        if for_crime is not None and (among & (self.for_crime == for_crime)).any():
            among &= self.for_crime == for_crime
        if not among.any():
            among[:] = True
        since = self._since_cycle(np.flatnonzero(among), at_ms)[:, None]
        starts = self.spell_start_ms[among]
        running = ((starts <= since) & (since < starts + self.spell_length_ms[among])).any(axis=1)
        everyone: Ints = self.mules[among]
        hot: Ints = everyone[running]
        return hot if len(hot) else everyone

    def spells_over(self, slots: Ints, at_ms: Ints) -> Ints:
        """Number of spells that ended before a time in the present cycle of a mule; 0 for other slots."""
        row = np.searchsorted(self.mules, slots).clip(max=len(self.mules) - 1)
        over = np.zeros(len(slots), dtype=np.int64)
        found = np.flatnonzero(self.mules[row] == slots)
        rows = row[found]
        ends = self.spell_start_ms[rows] + self.spell_length_ms[rows]
        over[found] = (ends < self._since_cycle(rows, at_ms[found])[:, None]).sum(axis=1)
        return over

    def _since_cycle(self, rows: Ints, at_ms: Ints | int) -> Ints:
        """Time into the present cycle of spells: an account's life, or 60 days of it."""
        slots = self.mules[rows]
        since: Ints = (at_ms - self.life_phase_ms[slots]) % np.minimum(self.life_ms[slots], _SPELL_CYCLE_MS)
        return since


def populate(seed: int, accounts: int) -> Population:
    """The population of a seed.

    Raises:
        ValueError: Fewer than 50 accounts: contacts, mules and merchants would not fit.
    """
    if accounts < MIN_ACCOUNTS:
        raise ValueError(f"accounts must be at least {MIN_ACCOUNTS}, got {accounts}; ask for more accounts")
    rng = np.random.default_rng(np.random.SeedSequence([seed, accounts]))
    company = rng.random(accounts) < published.COMPANY_USER_SHARE
    # The first slots make sure that even the smallest population has merchants to pay.
    company[:4] = True
    popularity = np.where(company, rng.pareto(1.1, accounts) + 0.2, rng.lognormal(0, 0.8, accounts))
    wealth = rng.standard_normal(accounts)
    life, mules, for_crime = _accounts(rng, company)
    cycle = np.minimum(life[mules], _SPELL_CYCLE_MS)
    starts = np.sort(rng.uniform(0.05, 0.95, (len(mules), _SPELLS)), axis=1) * cycle[:, None]
    device_life, key_life = _days(rng, accounts, 90, 500), _days(rng, accounts, 30, 900)
    # Keys of mules are reported and replaced, so they are young.
    key_life[mules] = _days(rng, len(mules), 20, 300)
    firms = _table(company, popularity)
    day_limits = rng.choice([300_000, 500_000, 1_000_000, 2_000_000], accounts, p=[0.3, 0.4, 0.2, 0.1])
    return Population(
        seed=seed,
        company=company,
        mei=company & (rng.random(accounts) < MEI_SHARE),
        bank=rng.choice(len(published.PSPS), accounts, p=_normal([share for _, share in published.PSPS])),
        municipality=_places(accounts),
        account_type=rng.choice(len(ACCOUNT_TYPES), accounts, p=[0.68, 0.07, 0.25]),
        age_years=np.where(company, 0, np.clip(rng.normal(41, 16, accounts), 16, 95)).astype(np.int64),
        life_ms=life,
        life_phase_ms=_phases(rng, life),
        device_life_ms=device_life,
        device_phase_ms=_phases(rng, device_life),
        key_type=np.where(
            company,
            rng.choice(len(KEY_TYPES), accounts, p=_COMPANY_KEYS),
            rng.choice(len(KEY_TYPES), accounts, p=_PERSON_KEYS),
        ),
        key_life_ms=key_life,
        key_phase_ms=_phases(rng, key_life),
        wealth=wealth,
        activity=rng.lognormal(0, 0.8, accounts),
        popularity=popularity,
        limit_cents=day_limits * np.where(company, 50, 1),
        night_limit_cents=rng.choice([50_000, 100_000, 200_000, 500_000], accounts, p=[0.08, 0.8, 0.07, 0.05]),
        person_contacts=_neighbours(rng, company),
        company_contacts=firms[rng.integers(0, len(firms), (accounts, CONTACTS))],
        employer=firms[rng.integers(0, len(firms), accounts)],
        salary_cents=(180_000 * np.exp(0.45 * wealth + 0.3 * rng.standard_normal(accounts))).astype(np.int64),
        mules=mules,
        for_crime=for_crime,
        spell_start_ms=starts.astype(np.int64),
        spell_length_ms=(rng.uniform(0.8, 3.0, (len(mules), _SPELLS)) * DAY_MS).astype(np.int64),
    )


def _accounts(rng: np.random.Generator, company: Bools) -> tuple[Ints, Ints, Bools]:
    """How long accounts live; the sorted slots that serve crime, and which of them were opened for it."""
    n = len(company)
    life = np.where(rng.random(n) < YOUNG_SHARE, _days(rng, n, 40, 220), _days(rng, n, 700, 4000))
    count = max(8, round(MULE_SHARE * n))
    # Merchants that everybody pays are not rented out: the first slots stay honest.
    weights = np.where(company[4:], 1 / published.COMPANY_USER_SHARE, 1.0)
    mules = np.sort(rng.choice(np.arange(4, n), count, replace=False, p=_normal(weights)))
    for_crime = rng.random(count) < 0.5
    # As long as a cycle of spells at most, so that each such account serves once and is given up.
    life[mules[for_crime]] = _days(rng, int(for_crime.sum()), 30, 60)
    return life, mules, for_crime


def _places(n: int) -> Ints:
    """Municipalities along the ring, as many slots each as its region and its people ask for."""
    weights = [
        published.REGION_SHARES[region] * people / sum(towns.values())
        for region, towns in MUNICIPALITIES.items()
        for people in towns.values()
    ]
    edges = np.cumsum(_normal(weights)) * n
    return np.searchsorted(edges, np.arange(n), side="right").clip(max=len(MUNICIPALITY_CODES) - 1)


def _neighbours(rng: np.random.Generator, company: Bools) -> Slots:
    people = np.flatnonzero(~company).astype(np.int32)
    steps = rng.integers(-NEIGHBOURHOOD, NEIGHBOURHOOD + 1, (len(company), CONTACTS), dtype=np.int32)
    near = np.searchsorted(people, np.arange(len(company)))[:, None] + steps
    contacts: Slots = people[near % len(people)]
    return contacts


def _table(among: Bools, weights: Floats) -> Slots:
    """Slots repeated by their weight: a draw is one look-up however many slots there are."""
    pool = np.flatnonzero(among)
    counts = np.maximum(np.round(weights[pool] / weights[pool].mean() * _ENTRIES), 1).astype(np.int64)
    return np.repeat(pool, counts).astype(np.int32)


def _days(rng: np.random.Generator, n: int, low: float, high: float) -> Ints:
    return (rng.uniform(low, high, n) * DAY_MS).astype(np.int64)


def _phases(rng: np.random.Generator, lives: Ints) -> Ints:
    return (rng.random(len(lives)) * lives).astype(np.int64)


def _normal(weights: list[float] | Floats) -> Floats:
    array = np.asarray(weights, dtype=np.float64)
    shares: Floats = array / array.sum()
    return shares
