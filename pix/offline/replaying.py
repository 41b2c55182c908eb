"""The first pass, in a Spark worker: fold each key's events in their order and read where payments read them.

A task holds the whole partition of its keys (``pix.offline.shapes.EVENTS`` in, ``STAGE`` out); sorting and checks
are numpy over columns, folding and reading the compiled kernel.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pix.engines import compiled, kernel
from pix.engines.layout import HEADER_WORDS, KINDS, LIST_CAP, N_READS, PLANS, RING_WORDS, RINGS
from pix.offline import packing
from pix.offline.columns import Bools, Integers, integers
from pix.offline.shapes import ALONE, BEHIND, LABEL, READ, STAGE, START, STATE, WAITING_FOLD, WAITING_READ
from pix.store.interface import LIVE_NUMBERS

ROWS_AT_ONCE = 8_192
WORD = 8
_OF_EVENT = ("identity", "role", "time_ms", "at_ms", "roles", "facts", "logged", "logged_by", "carried")


@dataclass(frozen=True, slots=True)
class Events:
    """A partition's events: the table, and its numbers as arrays; ``code`` is a number per key."""

    table: pa.Table
    code: Integers
    kind: Integers
    base: Integers
    read: Integers
    got: Integers
    time_ms: Integers
    word: Integers
    other: Integers
    place: Integers
    role: Integers
    at_ms: Integers
    asked: Bools

    def texts(self, name: str, rows: Integers) -> pa.Array:
        """Values of another column."""
        return _flat(self.table[name].take(pa.array(rows)))


def history_by_key(batches: Iterable[pa.RecordBatch], *, with_states: bool) -> Iterator[pa.RecordBatch]:
    """Imported events by (time, payments before labels, id): what each payment read, and the states at the end.

    Args:
        batches: ``EVENTS`` of whole keys.
        with_states: Whether the states are wanted, too.
    """
    events = _whole(batches)
    if events is None:
        return
    row = _in_fold_order(events)
    code, role = events.code[row], events.role[row]
    # A person on both sides: two reads of one key, one fold.
    pairs = np.flatnonzero((code[1:] == code[:-1]) & (role[1:] >= 0) & (role[:-1] >= 0))
    same = np.asarray(pc.equal(events.texts("identity", row[pairs]), events.texts("identity", row[pairs + 1])))
    is_last = np.ones(len(row), np.bool_)
    is_last[pairs[same]] = False
    action: Integers = kernel.READ * (role >= 0).astype(np.int64) + kernel.FOLD * is_last
    yield from _replayed(events, Lines(row, code, action, is_imported=True), {}, with_states=with_states)


def live_by_key(batches: Iterable[pa.RecordBatch], *, current: int) -> Iterator[pa.RecordBatch]:
    """Live events by their numbers: what each asked payment read, states at the end, and what has to wait.

    A key is folded on the base of each generation that its payments read; a state is kept of the current one.

    Args:
        batches: ``EVENTS`` of whole keys, with the states to begin with.
        current: Newest import in the base of the newest generation.
    """
    events = _whole(batches)
    if events is None:
        return
    asked = events.asked & (events.role >= 0)
    yield _alone(events)
    for base in sorted({current, *events.base[asked].tolist()}):
        wanted = (events.role != START) & (events.role != ALONE)
        if base != current:
            wanted &= np.isin(events.code, events.code[asked & (events.base == base)])
        if wanted.any():
            yield from _on_base(events, wanted, asked & (events.base == base), base, is_current=base == current)


def _alone(events: Events) -> pa.RecordBatch:
    """Asked decisions that read no state go on as they are."""
    rows = np.flatnonzero(events.asked & (events.role == ALONE))
    return STAGE.batch(len(rows), what=READ, **{name: events.texts(name, rows) for name in _OF_EVENT})


@dataclass(frozen=True, slots=True)
class Lines:
    """What to do, in order; whole keys one after the other.

    Attributes:
        row: Row of the events.
        code: The key, as a number.
        action: READ, FOLD or both.
        is_imported: Whether everything is read as imported history.
    """

    row: Integers
    code: Integers
    action: Integers
    is_imported: bool

    def where(self, chosen: Bools) -> "Lines":
        """Some of them."""
        return Lines(self.row[chosen], self.code[chosen], self.action[chosen], self.is_imported)


def _on_base(events: Events, wanted: Bools, asked: Bools, base: int, *, is_current: bool) -> Iterator[pa.RecordBatch]:
    """Everything on one base; see ``live_by_key``."""
    starts = _starts(events, base)
    begin = np.zeros(int(events.code.max()) + 1, np.int64)
    for key, (start, _) in starts.items():
        begin[key] = start
    folds = _accepted(events, np.flatnonzero(wanted), begin)
    reads = np.flatnonzero(asked)
    row = np.concatenate([folds.row, reads])
    number = np.concatenate([events.got[folds.row], events.read[reads]])
    is_read = np.repeat([False, True], [len(folds.row), len(reads)])
    order: Integers = np.lexsort((is_read, number, events.code[row]))
    row, number, is_read = row[order], number[order], is_read[order]
    code = events.code[row]
    answered = is_read & (_reached(code, number, is_read, begin) == number)
    lines = Lines(row, code, np.where(is_read, kernel.READ, kernel.FOLD), is_imported=False)
    yield from _replayed(events, lines.where(answered | ~is_read), starts, with_states=is_current, base=base)
    late = is_read & ~answered
    # The state lies behind what was read, or there is none where live folds were seen.
    behind = (number < begin[code]) | ((begin[code] < LIVE_NUMBERS) & (number >= LIVE_NUMBERS))
    yield _left(events, row[late], number[late], np.where(behind[late], BEHIND, WAITING_READ), base)
    if is_current:
        waiting = folds.waiting
        yield _left(events, waiting, events.got[waiting], np.full(len(waiting), WAITING_FOLD), base)


def _starts(events: Events, base: int) -> dict[int, tuple[int, bytes]]:
    """Key -> number and blob of the newest state on this base."""
    rows = np.flatnonzero((events.role == START) & (events.base == base))
    rows = rows[np.argsort(events.got[rows], kind="stable")]
    blobs = events.texts("blob", rows).to_pylist()
    numbers, codes = events.got[rows].tolist(), events.code[rows].tolist()
    return {key: (number, blob) for key, number, blob in zip(codes, numbers, blobs, strict=True)}


@dataclass(frozen=True, slots=True)
class Folds:
    """Rows of the events whose folds follow each other without a gap, and of those that must wait."""

    row: Integers
    waiting: Integers


def _accepted(events: Events, rows: Integers, begin: Integers) -> Folds:
    """Folds to make, each number once, up to the first gap of its key."""
    code, got, read, at_ms = events.code, events.got, events.read, events.at_ms
    rows = rows[np.lexsort((got[rows], code[rows]))]
    # Two roles of one key, redeliveries, and what is in the state already.
    again = np.append(False, (code[rows][1:] == code[rows][:-1]) & (got[rows][1:] == got[rows][:-1]))
    rows = rows[~again & (got[rows] > begin[code[rows]])]
    key, number = code[rows], got[rows]
    is_first = np.append(True, key[1:] != key[:-1])[: len(key)]
    before = np.where(is_first, begin[key], np.append(0, number[:-1])[: len(key)])
    # A key's first live number is the time of its fold; a later one whose predecessors are missing has another.
    opens = (before < LIVE_NUMBERS) & (read[rows] < LIVE_NUMBERS) & (number == at_ms[rows])
    gaps = np.cumsum(~((number == before + 1) | opens))
    first = np.flatnonzero(is_first)
    gaps_before = np.append(0, gaps)[first]
    reachable = gaps == np.repeat(gaps_before, np.diff(np.append(first, len(key))))
    return Folds(rows[reachable], rows[~reachable])


def _reached(code: Integers, number: Integers, is_read: Bools, begin: Integers) -> Integers:
    """The number of each line's key at that line: that of the fold before it, or of the state it began with."""
    place = np.arange(len(code))
    newest = np.maximum.accumulate(np.where(is_read, -1, place)) if len(code) else place
    has_fold = (newest >= 0) & (code[newest] == code)
    return np.where(has_fold, number[newest], begin[code])


def _replayed(
    events: Events, lines: Lines, starts: Mapping[int, tuple[int, bytes]], *, with_states: bool, base: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Let the kernel take all lines, kind by kind; without a base, states tell the newest import among their folds."""
    said = [name for name in _OF_EVENT if events.table[name].null_count < len(events.code)]
    for place, kind in enumerate(KINDS):
        for chunk in _chunks(lines.where(events.kind[lines.row] == place)):
            read, states = _run(kind, events, chunk, starts)
            asked = chunk.row[(chunk.action & kernel.READ) != 0]
            if len(asked):
                columns = {name: events.texts(name, asked) for name in said}
                yield STAGE.batch(len(asked), what=READ, blob=packing.pack(read), **columns)
            if with_states:
                yield from _kept(events, chunk, states, base)


def _chunks(lines: Lines) -> Iterator[Lines]:
    """Whole keys at a time, so that states and reads stay small."""
    ends = np.append(np.flatnonzero(np.diff(lines.code)) + 1, len(lines.code))
    start = 0
    while start < len(lines.code):
        one_key = int(np.searchsorted(ends, start, "right"))
        most = int(np.searchsorted(ends, start + ROWS_AT_ONCE, "right")) - 1
        end = int(ends[max(one_key, most)])
        yield Lines(lines.row[start:end], lines.code[start:end], lines.action[start:end], lines.is_imported)
        start = end


@dataclass(frozen=True, slots=True)
class States:
    """Keys' last states in the keys' order: all words one after the other, where each begins and how long it is."""

    words: Integers
    at: Integers
    lengths: Integers

    def blobs(self, keys: Integers) -> pa.Array:
        """The states of some of the keys, by their places."""
        ends = zip(self.at[keys].tolist(), self.lengths[keys].tolist(), strict=True)
        return pa.array([self.words[start : start + length].tobytes() for start, length in ends], pa.binary())


def _run(kind: str, events: Events, lines: Lines, starts: Mapping[int, tuple[int, bytes]]) -> tuple[Integers, States]:
    """Reads (rows x integers) of the reading lines, and the states that their keys are left with."""
    plan = PLANS[kind]
    first = np.append(True, np.diff(lines.code) != 0)
    place = np.cumsum(first) - 1
    before = [starts[key][1] if key in starts else b"" for key in lines.code[first].tolist()]
    lengths = np.array([_state_words(kind, blob) for blob in before], np.int64)
    folds = np.bincount(place, weights=(lines.action & kernel.FOLD) != 0).astype(np.int64)
    room = np.maximum(lengths, HEADER_WORDS) + 3 * folds
    room = np.maximum(np.where(room > HEADER_WORDS + 3 * LIST_CAP, plan[RING_WORDS], room), lengths)
    at = np.cumsum(room) - room
    states = np.empty(int(room.sum()), np.int64)
    for key, blob in enumerate(before):
        if blob:
            states[at[key] : at[key] + lengths[key]] = np.frombuffer(blob, np.int64)
    columns = (place, lines.action, *(values[lines.row] for values in (events.time_ms, events.word, events.other)))
    steps = np.stack([*columns, np.full(len(place), lines.is_imported)], axis=1).astype(np.int64)
    reads = np.empty((int(((lines.action & kernel.READ) != 0).sum()), int(plan[N_READS])), np.int64)
    compiled.replay(plan, steps, at, lengths, states, reads)
    return reads, States(states, at, lengths)


def _state_words(kind: str, blob: bytes) -> int:
    """Length of a blob in words; a wrong one would make the compiled code read elsewhere."""
    if not blob:
        return 0
    listed = int.from_bytes(blob[:WORD], "little", signed=True)
    words = int(PLANS[kind][RING_WORDS]) if listed == RINGS else HEADER_WORDS + 3 * listed
    if words * WORD != len(blob):
        raise kernel.BrokenBlob(f"a state of kind {kind} has {len(blob)} bytes, its header says {words * WORD}")
    return words


def _kept(events: Events, lines: Lines, states: States, base: int | None) -> Iterator[pa.RecordBatch]:
    """The last state of each key that was folded here."""
    is_fold = (lines.action & kernel.FOLD) != 0
    code, row = lines.code[is_fold], lines.row[is_fold]
    if not len(code):
        return
    begins = np.flatnonzero(np.append(True, code[1:] != code[:-1]))
    last = np.append(begins[1:], len(code)) - 1
    if base is None:
        number, newest = last - begins + 1, np.maximum.reduceat(events.base[row], begins)
    else:
        number, newest = events.got[row[last]], np.full(len(last), base)
    keys = lines.code[np.append(True, np.diff(lines.code) != 0)]
    blobs = states.blobs(np.flatnonzero(np.isin(keys, code)))
    key = events.texts("key", row[last])
    yield STAGE.batch(len(last), what=STATE, key=key, base=newest, number=number, blob=blobs)


def _left(events: Events, rows: Integers, number: Integers, what: Integers, base: int) -> pa.RecordBatch:
    """What could not be done: which read or fold of which payment waits for which number of which key."""
    columns = {name: events.texts(name, rows) for name in ("key", "identity", "role", "time_ms", "at_ms")}
    return STAGE.batch(len(rows), what=what, base=base, number=number, **columns)


def _in_fold_order(events: Events) -> Integers:
    """Rows by key, time, payments before labels, id, place, role."""
    is_label = (events.role == LABEL).astype(np.int64)
    order: Integers = np.lexsort((is_label, events.time_ms, events.code))
    numbers = np.stack([events.code, events.time_ms, is_label], axis=1)[order]
    tied = (numbers[1:] == numbers[:-1]).all(axis=1)
    in_tie = np.append(tied, False) | np.append(False, tied)
    # Texts are compared only where numbers do not decide.
    rows = order[in_tie]
    columns = (*numbers[in_tie].T.tolist(), events.texts("identity", rows).to_pylist())
    keys = list(zip(*columns, events.place[rows].tolist(), events.role[rows].tolist(), strict=True))
    order[in_tie] = rows[sorted(range(len(rows)), key=keys.__getitem__)]
    return order


def _whole(batches: Iterable[pa.RecordBatch]) -> Events | None:
    held = [batch for batch in batches if batch.num_rows]
    if not held:
        return None
    table = pa.Table.from_batches(held).combine_chunks()
    code = _flat(table["key"]).dictionary_encode().indices.to_numpy().astype(np.int64)
    names = ("kind", "base", "read", "got", "time_ms", "word", "other", "place", "role", "at_ms")
    numbers = {name: integers(table[name], 0) for name in names}
    return Events(table=table, code=code, asked=np.asarray(pc.fill_null(table["asked"], False)), **numbers)


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
