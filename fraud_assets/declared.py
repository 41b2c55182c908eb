"""How a lake table looks as an asset: key, group, owners, kinds, columns, and the pool of its one writer."""

from typing import Any

import dagster as dg

from fraud_assets.lake import column_schema
from pix.offline.declaration import Table
from pix.offline.dictionary import PSEUDONYM, strongest

OWNERS = {
    "bronze": "team:streams",
    "silver": "team:lake",
    "gold": "team:lake",
    "features": "team:features",
    "serving": "team:serving",
    "model": "team:models",
    "monitoring": "team:models",
    "quality": "team:lake",
    "care": "team:lake",
}
SPARK_KINDS = frozenset({"spark", "delta"})
ARROW_KINDS = frozenset({"arrow", "delta"})


def key_of(name: str) -> dg.AssetKey:
    """Asset key of ``layer/table``."""
    return dg.AssetKey(name.split("/"))


def keys_of(*tables: Table | str) -> list[dg.AssetKey]:
    """Asset keys of tables."""
    return [key_of(table if isinstance(table, str) else table.name) for table in tables]


def named(name: str, kinds: frozenset[str], *, pii: str = PSEUDONYM) -> dict[str, Any]:
    """Arguments of ``@dg.asset`` for ``layer/name``."""
    layer, _, _ = name.partition("/")
    return {
        "key": key_of(name),
        "group_name": layer,
        "owners": [OWNERS[layer]],
        "kinds": set(kinds),
        "tags": {"pii": pii},
        "pool": name.replace("/", "_"),
    }


def table_asset(table: Table, kinds: frozenset[str] = SPARK_KINDS) -> dict[str, Any]:
    """Arguments of ``@dg.asset`` for a declared table; its tag ``pii`` is its class in the data dictionary."""
    return {
        **named(table.name, kinds, pii=strongest(table)),
        "metadata": {"dagster/column_schema": column_schema(table)},
    }


def table_spec(table: Table, *deps: Table | str) -> dg.AssetSpec:
    """One table of a multi-asset; its description is what one row is."""
    arguments = table_asset(table)
    arguments.pop("pool")
    return dg.AssetSpec(**arguments, description=table.row, deps=keys_of(*deps), skippable=False)
