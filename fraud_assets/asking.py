"""SQL over Delta tables of the lake, by DataFusion inside delta-rs: no Spark, no JVM. Reading only.

Checks ask whole tables for counts; that takes milliseconds here, and seconds in Spark.
"""

from collections.abc import Mapping
from typing import Any

from fraud_assets.lake import LakeResource
from quality.counting import Ask


def asking(lake: LakeResource) -> Ask:
    """Runs SQL over tables of the lake, given by the name they have in it; no row where one of them is missing."""

    def ask(sql: str, tables: Mapping[str, str]) -> list[dict[str, Any]]:
        import pyarrow as pa
        from deltalake import QueryBuilder

        if not all(lake.exists(name) for name in tables.values()):
            return []
        builder = QueryBuilder()
        for alias, name in tables.items():
            builder = builder.register(alias, lake.log(name))
        rows: list[dict[str, Any]] = pa.table(builder.execute(sql).read_all()).to_pylist()
        return rows

    return ask
