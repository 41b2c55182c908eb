"""Which old versions of tables are still needed, and by whom: what clearing away must leave.

- A **model** names the versions of what it was made from: its training set, and what that was made from, so that both
  can be read and the set be made again for as long as the model is there.
- A **note** names the versions that a table was made from (``made_from``): what came since is found by them, and the
  flow compares with them.
- A **decision** is run again on the states that so many imports left (``serving.rerun_lake``), and a generation of the
  online store stands on them: of ``features/base_states`` the newest version of every number of imports and layout.

The law comes first: a version that holds a row past its term is not kept for anybody.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fraud_assets import learning_rows, notes
from fraud_assets.care_log import Log
from fraud_assets.lake import LakeResource
from learning.errors import RegistryError
from pix.offline.care import Due
from pix.offline.declaration import Table
from pix.offline.tables import BASE_STATES, TRAINING_SET

if TYPE_CHECKING:
    from deltalake import DeltaTable

LEARNT_FROM = (TRAINING_SET.name, *(table.name for table in learning_rows.LEARNT_FROM), BASE_STATES.name)
BRONZE = "bronze/"
Versions = dict[int, str]
"""Version -> who needs it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What is needed of the lake's past.

    Attributes:
        versions: Table -> version -> who needs it.
        unknown: Table -> why nobody can say what is needed of it; nothing of it may be cleared away.
    """

    versions: Mapping[str, Versions] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


def needs(lake: LakeResource, tables: Mapping[str, Table], models: Callable[[], dict[str, dict[str, int]]]) -> Needs:
    """Ask everybody.

    Args:
        lake: The lake.
        tables: Those that are looked after, by name.
        models: Asks the registry: model's version -> table -> version.
    """
    from deltalake.exceptions import DeltaError

    found: dict[str, Versions] = {}
    for name in tables:
        if name.startswith(BRONZE) or not lake.exists(name):
            continue
        for source, version in ((lake.note(name) or {}).get("made_from") or {}).items():
            _add(found, source, version, f"note of {name}")
    unknown: dict[str, str] = {}
    if lake.exists(BASE_STATES.name):
        try:
            for version, why in bases(lake):
                _add(found, BASE_STATES.name, version, why)
        except DeltaError as unread:
            unknown[BASE_STATES.name] = f"which versions decisions stand on is not known: {unread}"
    if lake.exists(TRAINING_SET.name):
        try:
            for model, versions in models().items():
                for source, version in versions.items():
                    _add(found, source, version, f"model {model}")
        except RegistryError as away:
            unknown |= dict.fromkeys(LEARNT_FROM, f"which versions models were made from is not known: {away}")
    return Needs(found, unknown)


def _add(found: dict[str, Versions], table: str, version: int, who: str) -> None:
    of_table = found.setdefault(table, {})
    of_table[version] = f"{of_table[version]}, {who}" if version in of_table else who


def bases(lake: LakeResource) -> Iterator[tuple[int, str]]:
    """The newest version of each base that decisions stand on, as far as the log reaches.

    Raises:
        deltalake.exceptions.DeltaError: A version that the log tells of cannot be opened.
    """
    import pyarrow as pa
    from deltalake import DeltaTable

    address, newest, seen = lake.address(BASE_STATES.name), lake.version(BASE_STATES.name), set[tuple[int, str]]()
    for version in range(newest, Log.of(address).oldest(newest) - 1, -1):
        adds = pa.table(DeltaTable(address, version=version).get_add_actions(flatten=True))
        there = {"max.import_number", "max.layout"} <= set(adds.column_names)
        pairs = zip(adds["max.import_number"].to_pylist(), adds["max.layout"].to_pylist(), strict=True) if there else ()
        base = max(((imports, layout) for imports, layout in pairs if imports is not None), default=None)
        if base is not None and base not in seen:
            seen.add(base)
            yield version, f"decisions on {base[0]} imports, layout {base[1]}"


def readable(lake: LakeResource, table: str, wanted: Versions, dues: list[Due]) -> tuple[Versions, dict[int, str]]:
    """Which of the versions that are needed can be kept, and why not the others.

    Whatever else keeps one from being read, such as a store that does not answer, is raised: nothing is to be
    cleared away on its account.
    """
    kept: Versions = {}
    lost: dict[int, str] = {}
    log, newest = Log.of(lake.address(table)), lake.version(table)
    for version, who in sorted(wanted.items()):
        if not log.oldest(newest) <= version <= newest or not _is_whole(lake, table, version, log):
            lost[version] = f"needed by {who}, and gone already"
        elif held := sum(_rows(lake, table, version, each.where) for each in dues):
            lost[version] = f"needed by {who}, and let go: {held} of its rows are past their term"
        else:
            kept[version] = who
    return kept, lost


def _rows(lake: LakeResource, table: str, version: int, where: str) -> int:
    (row,) = lake.ask(table, f"select count(*) as n from asked where {where}", version=version)  # noqa: S608
    return int(row["n"])


def _is_whole(lake: LakeResource, table: str, version: int, log: Log) -> bool:
    """Whether a version's every file is there."""
    from deltalake import DeltaTable

    found: DeltaTable = DeltaTable(lake.address(table), version=version)
    return set(Log.paths(found)) <= log.data.keys()


def log_from(table: "DeltaTable", kept: Versions) -> int:
    """The oldest version that must stay in a table's log, whatever its age: notes in it are needed, too."""
    noted = notes.newest_at(table)
    return min([table.version(), *kept, *([] if noted is None else [noted])])
