"""Who holds accounts: a function of seed and size alone, so a later run meets the same accounts.

A *slot* is a customer relation. Its account lives for a while, then closes and another customer's account
opens in its place, so at any time some accounts are young. Which account a slot holds at a time, and
every identifier, follow from (seed, slot, time); nothing here knows which window is simulated.
"""

from dataclasses import dataclass

import numpy as np

from pix.simulator.rhythm import DAY_MS, Bools, Floats, Ints

CONTACTS = 8
COMPANY_SHARE = 0.13
YOUNG_SHARE = 0.30
MULE_SHARE = 0.009
MIN_ACCOUNTS = 50
NEIGHBOURHOOD = 60
# ISPBs by share of Pix keys, June 2026; the tail below 5 % is spread by judgement.
ISPBS = (
    ("18236120", 18.9),
    ("00360305", 13.3),
    ("22896431", 10.1),
    ("10573521", 7.6),
    ("60746948", 5.9),
    ("00416968", 5.9),
    ("60701190", 5.2),
    ("00000000", 8.0),
    ("90400888", 8.0),
    ("08561701", 7.0),
    ("31872495", 6.0),
    ("16501555", 4.1),
)
KEY_TYPES = ("CPF", "CNPJ", "PHONE", "EMAIL", "EVP")
_PERSON_KEYS = (0.34, 0.0, 0.25, 0.14, 0.27)
_COMPANY_KEYS = (0.0, 0.42, 0.10, 0.14, 0.34)
_SPELLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Columns over slots; ``*_phase_ms`` shifts a cycle of ``*_life_ms`` from the epoch."""

    seed: int
    company: Bools
    bank: Ints
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
    person_contacts: Ints
    company_contacts: Ints
    mules: Ints
    spell_start_ms: Ints
    spell_length_ms: Ints

    @property
    def size(self) -> int:
        """Number of slots, that is, of accounts open at any time."""
        return len(self.company)

    def account_number(self, slots: Ints, at_ms: Ints) -> Ints:
        """Which account in a row of its slot is open at a time."""
        return (at_ms - self.life_phase_ms[slots]) // self.life_ms[slots]

    def opened_ms(self, slots: Ints, at_ms: Ints) -> Ints:
        """When the account that is open at a time was opened."""
        return self.account_number(slots, at_ms) * self.life_ms[slots] + self.life_phase_ms[slots]

    def device_registered_ms(self, slots: Ints, at_ms: Ints) -> Ints:
        """When the holder's present device was registered: never before the account opened."""
        life, phase = self.device_life_ms[slots], self.device_phase_ms[slots]
        registered: Ints = np.maximum((at_ms - phase) // life * life + phase, self.opened_ms(slots, at_ms))
        return registered

    def key_created_ms(self, slots: Ints, at_ms: Ints) -> Ints:
        """When the account's present Pix key was created: never before the account opened."""
        life, phase = self.key_life_ms[slots], self.key_phase_ms[slots]
        created: Ints = np.maximum((at_ms - phase) // life * life + phase, self.opened_ms(slots, at_ms))
        return created

    def hot_mules(self, at_ms: int) -> Ints:
        """Mules inside one of their spells of use at a time; all of them where none is."""
        since = (at_ms - self.life_phase_ms[self.mules]) % self.spell_cycle_ms
        started = self.spell_start_ms <= since[:, None]
        running = since[:, None] < self.spell_start_ms + self.spell_length_ms
        hot = self.mules[(started & running).any(axis=1)]
        return hot if len(hot) else self.mules

    def spells_over(self, slots: Ints, at_ms: Ints) -> Ints:
        """Number of spells that ended before a time in the present cycle of a mule; 0 for other slots."""
        row = np.searchsorted(self.mules, slots).clip(max=len(self.mules) - 1)
        since = (at_ms - self.life_phase_ms[slots]) % self.spell_cycle_ms[row]
        over = (self.spell_start_ms[row] + self.spell_length_ms[row] < since[:, None]).sum(axis=1)
        return np.where(self.mules[row] == slots, over, 0)

    @property
    def spell_cycle_ms(self) -> Ints:
        """After this long a mule's spells begin anew: with its account, or every 60 days if that is old."""
        return np.minimum(self.life_ms[self.mules], 60 * DAY_MS)


def populate(seed: int, accounts: int) -> Population:
    """The population of a seed.

    Raises:
        ValueError: Fewer than 50 accounts: contacts, mules and merchants would not fit.
    """
    if accounts < MIN_ACCOUNTS:
        raise ValueError(f"accounts must be at least {MIN_ACCOUNTS}, got {accounts}; ask for more accounts")
    rng = np.random.default_rng(np.random.SeedSequence([seed, accounts]))
    company = rng.random(accounts) < COMPANY_SHARE
    # The first slots make sure that even the smallest population has merchants to pay.
    company[:4] = True
    popularity = np.where(company, rng.pareto(1.1, accounts) + 0.2, rng.lognormal(0, 0.8, accounts))
    mules, opened_for_crime = _mules(rng, company)
    life = _lives(rng, accounts)
    # As long as a cycle of spells at most, so that each such account serves once and is given up.
    life[opened_for_crime] = _days(rng, len(opened_for_crime), 30, 60)
    cycle = np.minimum(life[mules], 60 * DAY_MS)
    starts = np.sort(rng.uniform(0.05, 0.95, (len(mules), _SPELLS)), axis=1) * cycle[:, None]
    device_life = _days(rng, accounts, 90, 500)
    key_life = _days(rng, accounts, 30, 900)
    # Keys of mules are reported and replaced, so they are young.
    key_life[mules] = _days(rng, len(mules), 6, 40)
    return Population(
        seed=seed,
        company=company,
        bank=rng.choice(len(ISPBS), accounts, p=_normal([share for _, share in ISPBS])),
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
        wealth=rng.lognormal(0, 0.6, accounts),
        activity=rng.lognormal(0, 0.8, accounts),
        popularity=popularity,
        limit_cents=rng.choice([300_000, 500_000, 1_000_000, 2_000_000], accounts, p=[0.3, 0.4, 0.2, 0.1])
        * np.where(company, 20, 1),
        person_contacts=_neighbours(rng, company),
        company_contacts=_regular_companies(rng, company, popularity),
        mules=mules,
        spell_start_ms=starts.astype(np.int64),
        spell_length_ms=(rng.uniform(0.8, 3.0, (len(mules), _SPELLS)) * DAY_MS).astype(np.int64),
    )


def _lives(rng: np.random.Generator, n: int) -> Ints:
    old = _days(rng, n, 700, 4000)
    young = _days(rng, n, 40, 220)
    return np.where(rng.random(n) < YOUNG_SHARE, young, old)


def _mules(rng: np.random.Generator, company: Bools) -> tuple[Ints, Ints]:
    """Sorted slots whose accounts serve crime, and those of them opened for it; the rest is rented."""
    count = max(4, round(MULE_SHARE * len(company)))
    # Merchants that everybody pays are not rented out: the first slots stay honest.
    candidates = np.arange(4, len(company))
    # Most stolen value lands in companies' accounts, though companies are few.
    weights = np.where(company[4:], (1 / COMPANY_SHARE), 1.0)
    mules = np.sort(rng.choice(candidates, count, replace=False, p=_normal(weights)))
    return mules, mules[rng.random(count) < 0.6]


def _neighbours(rng: np.random.Generator, company: Bools) -> Ints:
    people = np.flatnonzero(~company)
    steps = rng.integers(-NEIGHBOURHOOD, NEIGHBOURHOOD + 1, (len(company), CONTACTS))
    near = np.searchsorted(people, np.arange(len(company)))[:, None] + steps
    contacts: Ints = people[near % len(people)]
    return contacts


def _regular_companies(rng: np.random.Generator, company: Bools, popularity: Floats) -> Ints:
    firms = np.flatnonzero(company)
    return rng.choice(firms, (len(company), CONTACTS), p=_normal(popularity[firms]))


def _days(rng: np.random.Generator, n: int, low: float, high: float) -> Ints:
    return (rng.uniform(low, high, n) * DAY_MS).astype(np.int64)


def _phases(rng: np.random.Generator, lives: Ints) -> Ints:
    return (rng.random(len(lives)) * lives).astype(np.int64)


def _normal(weights: list[float] | Floats) -> Floats:
    array = np.asarray(weights, dtype=np.float64)
    shares: Floats = array / array.sum()
    return shares
