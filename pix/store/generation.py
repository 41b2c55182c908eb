"""Generations of the online store: what each is made of, which one is in use, who builds the next.

A generation's states have a namespace of their own; records and outbox belong to all. The book is kept in the
store's own meta data: ``current`` names the generation in use and whether it is fenced, ``generation|N`` describes
generation N. Every change of the book is one atomic step, so a flip is one write.

A fence refuses reads and commits for the moment between the last fold and the flip. It names its builder: a flip
needs that fence to be there still, so whoever lifts the fence of a builder that died makes its flip fail.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pix.store.errors import BuildBusy, LayoutMismatch, StoreError, StoreLoading, StoreLost

CURRENT = "current"
BOOK = "generation|"
KEPT = "kept|"
LEASE_MS = 30_000
"""A builder that was not heard of for so long is dead."""

Offsets = Mapping[str, Mapping[str, int]]
"""Topic -> partition (as text) -> offset of the next message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a generation is made of, beside the live folds.

    Attributes:
        imports: How many imports of history its base holds.
        base_version: Delta version of features/base_states that was folded; None without a base.
        layout: Layout of its blobs.
        token_key_version: Key version of the tokens in new keys.
    """

    imports: int
    base_version: int | None
    layout: str
    token_key_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One generation and how far it is.

    Attributes:
        number: 1, 2, ...; 0 is a store in which nothing was ever built.
        identity: What it is made of.
        state: building, active, fenced, retired (kept for a roll-back) or failed.
        step: What its builder does now.
        done: Of that, how much.
        total: Of how much; 0 if that is unknown.
        builder: Who builds it; empty when nobody does.
        lease_until_ms: The builder is taken for dead after this, epoch milliseconds.
        problem: Why it failed.
        complete_to: The logs' end that its states were complete to when it was retired.
        gaps: Keys whose missing folds were accepted.
    """

    number: int
    identity: Identity
    state: str
    step: str = ""
    done: int = 0
    total: int = 0
    builder: str = ""
    lease_until_ms: int = 0
    problem: str = ""
    complete_to: Offsets = field(default_factory=dict)
    gaps: int = 0

    def described(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Current:
    """The generation in use.

    Attributes:
        number: Its number.
        imports: How many imports of history its base holds.
        fence: Who fenced it; empty if it is open.
    """

    number: int
    imports: int
    fence: str = ""


NOTHING_BUILT = Current(0, 0)

Change = Callable[[Mapping[str, bytes]], Mapping[str, bytes | None]]
"""From the whole book to what changes in it; None takes an entry away."""


class GenerationBook(ABC):
    """The book-keeping that every store shares; a store brings the atomic change and the states."""

    def __init__(self, layout: str) -> None:
        self._layout = layout
        self._known: dict[bytes | None, Current] = {}

    @abstractmethod
    def _read_book(self) -> Mapping[str, bytes]:
        """Every entry of the book."""

    @abstractmethod
    def _change_book(self, change: Change) -> None:
        """Read the book and write what changes, with nobody in between."""

    @abstractmethod
    def write_states(self, number: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Put states into a generation that is being built; see ``Store``."""

    @abstractmethod
    def drop_states(self, number: int, limit: int) -> bool:
        """Delete up to ``limit`` states of a generation; whether some are left."""

    def _current(self, raw: bytes | None, book: Callable[[], Mapping[str, bytes]]) -> Current:
        """What the entry ``current`` says; the request path, so it is looked up once per value.

        Raises:
            StoreLoading: It is fenced.
            StoreLost: It is gone, though this process has seen one.
            LayoutMismatch: Its blobs have another layout than this build.
        """
        known = self._known.get(raw)
        if known is None:
            known = self._looked_up(raw, book)
            # One entry: a value of the past must not come back as known.
            self._known = {raw: known}
        if known.fence:
            raise StoreLoading("the online store changes to its next generation; try again in a second")
        return known

    def _looked_up(self, raw: bytes | None, book: Callable[[], Mapping[str, bytes]]) -> Current:
        if raw is None:
            if any(known.number for known in self._known.values()):
                raise StoreLost("the online store lost its content; it is built anew from lake and logs")
            return NOTHING_BUILT
        number, fence = _parsed(raw)
        described = book().get(f"{BOOK}{number}")
        if described is None and number:
            raise StoreLost(f"the online store does not know its generation {number}; it is built anew from the logs")
        if described is None:
            return replace(NOTHING_BUILT, fence=fence)
        identity = _generation(described).identity
        if identity.layout != self._layout:
            raise LayoutMismatch(
                f"the online store's generation {number} has states of layout {identity.layout}, this build reads "
                f"{self._layout}; materialise features/base_states, then `sentinela store rebuild`"
            )
        return Current(number, identity.imports, fence)

    def remembered(self, name: str) -> bytes | None:
        """What ``remember`` kept under this name."""
        return self._read_book().get(f"{KEPT}{name}")

    def remember(self, name: str, value: bytes) -> None:
        """Keep something beside the generations, for as long as this store lives; durable when this returns."""
        self._change_book(lambda _: {f"{KEPT}{name}": value})

    def generations(self) -> list[Generation]:
        """Every generation that the store holds or holds the memory of, oldest first."""
        return _listed(self._read_book())

    def active(self) -> Generation | None:
        """The generation in use, fenced or not; None in a store in which nothing was ever built."""
        return next((each for each in self.generations() if each.state in ("active", "fenced")), None)

    def begin(self, identity: Identity, builder: str, now_ms: int, *, at_least: int = 1) -> Generation:
        """Begin to build the next generation beside the current one.

        Args:
            identity: What it will be made of.
            builder: Who builds it; unique.
            now_ms: Epoch milliseconds.
            at_least: Its smallest number; above all that logs know from a store that was lost.

        Raises:
            BuildBusy: Another builder is alive.
        """
        begun: list[Generation] = []

        def change(book: Mapping[str, bytes]) -> dict[str, bytes | None]:
            listed = _without_living_builder(book, now_ms)
            number = max([at_least, *(each.number + 1 for each in listed)])
            begun[:] = [_held(Generation(number=number, identity=identity, state="building"), builder, now_ms)]
            return {f"{BOOK}{number}": _text(begun[0])}

        self._change_book(change)
        self._drop_all_but({begun[0].number})
        return begun[0]

    def resume(self, number: int, builder: str, now_ms: int) -> Generation:
        """Take a retired generation up again, to bring it to the logs' end and to flip back to it.

        Raises:
            BuildBusy: Another builder is alive.
            StoreError: There is no such generation, or it has another layout than this build.
        """
        taken: list[Generation] = []

        def change(book: Mapping[str, bytes]) -> dict[str, bytes | None]:
            listed = {each.number: each for each in _without_living_builder(book, now_ms)}
            old = listed.get(number)
            if old is None or old.state not in ("retired", "building"):
                raise StoreError(
                    f"there is no retired generation {number} to roll back to; see `sentinela store status`"
                )
            if old.identity.layout != self._layout:
                raise StoreError(
                    f"generation {number} has states of layout {old.identity.layout}, this build folds "
                    f"{self._layout}; deploy the build that reads it, then roll back"
                )
            taken[:] = [_held(replace(old, state="building"), builder, now_ms)]
            return {f"{BOOK}{number}": _text(taken[0])}

        self._change_book(change)
        return taken[0]

    def note(self, building: Generation, step: str, done: int, total: int, now_ms: int) -> None:
        """Say how far the build is, and that its builder lives.

        Raises:
            BuildBusy: Another builder took over.
        """

        def change(book: Mapping[str, bytes]) -> dict[str, bytes | None]:
            mine = replace(_mine(book, building), step=step, done=done, total=total)
            return {f"{BOOK}{building.number}": _text(_held(mine, building.builder, now_ms))}

        self._change_book(change)

    def fence(self, building: Generation) -> None:
        """Refuse reads and commits until ``flip`` or ``lift``.

        Raises:
            BuildBusy: Another builder took over.
        """

        def change(book: Mapping[str, bytes]) -> dict[str, bytes | None]:
            _mine(book, building)
            number, _ = _parsed(book.get(CURRENT, b"0"))
            return {CURRENT: f"{number}|{building.builder}".encode()}

        self._change_book(change)

    def lift(self, builder: str) -> bool:
        """Open the store again if this builder fenced it; whether it had."""
        lifted: list[bool] = []

        def change(book: Mapping[str, bytes]) -> dict[str, bytes | None]:
            number, fence = _parsed(book.get(CURRENT, b"0"))
            lifted[:] = [bool(fence) and fence == builder]
            return {CURRENT: str(number).encode() if number else None} if lifted[0] else {}

        self._change_book(change)
        return lifted[0]

    def lift_of_the_dead(self, now_ms: int) -> str | None:
        """Open a store whose builder died behind its fence; who that was."""
        _, fence = _parsed(self._read_book().get(CURRENT, b"0"))
        alive = any(each.builder == fence and each.lease_until_ms > now_ms for each in self.generations())
        return fence if fence and not alive and self.lift(fence) else None

    def flip(self, building: Generation, complete_to: Offsets, gaps: int = 0) -> None:
        """Use the built generation from now on; the one before is retired.

        Args:
            building: What ``begin`` or ``resume`` gave.
            complete_to: The logs' end that both generations are complete to.
            gaps: Keys whose missing folds were accepted.

        Raises:
            BuildBusy: Another builder took over, or somebody lifted the fence.
        """

        def change(book: Mapping[str, bytes]) -> dict[str, bytes | None]:
            built = _mine(book, building)
            number, fence = _parsed(book.get(CURRENT, b"0"))
            if fence != building.builder:
                raise BuildBusy(f"the fence around generation {number} is not there any more; build again")
            done = replace(built, state="built", step="", done=0, total=0, builder="", lease_until_ms=0, gaps=gaps)
            changes: dict[str, bytes | None] = {CURRENT: str(built.number).encode()}
            changes[f"{BOOK}{built.number}"] = _text(done)
            if (old := book.get(f"{BOOK}{number}")) is not None:
                changes[f"{BOOK}{number}"] = _text(replace(_generation(old), complete_to=complete_to))
            return changes

        self._change_book(change)

    def give_up(self, building: Generation, problem: str) -> None:
        """Mark a build as failed and delete its states, unless another builder has it by now."""

        def change(book: Mapping[str, bytes]) -> dict[str, bytes | None]:
            try:
                mine = _mine(book, building)
            except BuildBusy:
                return {}
            failed = replace(mine, state="failed", problem=problem, builder="", lease_until_ms=0)
            # A retired generation that could not be caught up is as good as before.
            as_before = replace(mine, state="built", problem=problem, builder="", lease_until_ms=0)
            return {f"{BOOK}{building.number}": _text(as_before if mine.complete_to else failed)}

        self._change_book(change)
        if not building.complete_to:
            while self.drop_states(building.number, DROPPED_AT_ONCE):
                pass

    def load_base(self, imports: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """Begin a generation from folded history alone and use it at once; for stores without live folds.

        Args:
            imports: How many imports the history holds.
            states: Key, number and blob.

        Returns:
            How many keys were written.
        """
        identity = Identity(imports=imports, base_version=None, layout=self._layout, token_key_version=1)
        begun = self.begin(identity, "load_base", 0)
        written = self.write_states(begun.number, states)
        self.fence(begun)
        self.flip(begun, {})
        return written

    def _drop_all_but(self, kept: set[int]) -> None:
        """Delete what no roll-back may ask for any more, in pieces that hold nobody up."""
        for each in self.generations():
            if each.number in kept or each.state in ("active", "fenced"):
                continue
            while self.drop_states(each.number, DROPPED_AT_ONCE):
                pass
            self._change_book(_without(each.number))


DROPPED_AT_ONCE = 2_000


def _without(number: int) -> Change:
    """Takes a generation out of the book."""
    return lambda _: {f"{BOOK}{number}": None}


def _parsed(raw: bytes) -> tuple[int, str]:
    number, _, fence = raw.decode().partition("|")
    return int(number), fence


def _text(generation: Generation) -> bytes:
    return json.dumps(asdict(generation)).encode()


def _generation(text: bytes) -> Generation:
    content = json.loads(text)
    return Generation(**{**content, "identity": Identity(**content["identity"])})


def _listed(book: Mapping[str, bytes]) -> list[Generation]:
    number, fence = _parsed(book.get(CURRENT, b"0"))
    found = [_generation(text) for name, text in book.items() if name.startswith(BOOK)]
    in_use = "fenced" if fence else "active"
    # Only ``current`` says which one is in use: the flip is one write.
    shown = [
        replace(each, state=in_use if each.number == number else "retired" if each.state == "built" else each.state)
        for each in found
    ]
    return sorted(shown, key=lambda each: each.number)


def _without_living_builder(book: Mapping[str, bytes], now_ms: int) -> list[Generation]:
    listed = _listed(book)
    for each in listed:
        if each.builder and each.lease_until_ms > now_ms:
            raise BuildBusy(f"{each.builder} is building generation {each.number} ({each.step}); wait for it")
    return listed


def _mine(book: Mapping[str, bytes], building: Generation) -> Generation:
    found = book.get(f"{BOOK}{building.number}")
    if found is None or _generation(found).builder != building.builder:
        raise BuildBusy(f"generation {building.number} is no longer built by {building.builder}; build again")
    return _generation(found)


def _held(generation: Generation, builder: str, now_ms: int) -> Generation:
    return replace(generation, builder=builder, lease_until_ms=now_ms + LEASE_MS)
