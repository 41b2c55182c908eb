"""Messages into the bronze tables, in files as the stream leaves them: one for each topic and trigger.

The stream commits each file by itself, 15 ms apiece; here all files of an hour are one commit. That is what readers see
after the next checkpoint, which the stream writes every 25 commits.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fraud_streaming import bronze_tables
from fraud_streaming.bronze_rows import ARROW_SCHEMA

PARTITIONS = 4
INGESTED_AFTER_MS = 1_200
STATED = ("partition", "offset", "timestamp_ms")


def into_bronze(lake: str, files: Iterable[Path], trigger_seconds: float) -> dict[str, int]:
    """Bring messages, each file's by their time, into the tables; how many, by topic."""
    rows = pa.concat_tables([pq.read_table(file) for file in files]).sort_by("timestamp_ms").combine_chunks()
    counts = {}
    for topic in rows["topic"].unique().to_pylist():
        chosen = rows.filter(pc.equal(rows["topic"], topic))
        _append(bronze_tables.table_path(lake, topic), _placed(lake, topic, chosen), trigger_seconds)
        counts[topic] = chosen.num_rows
    return counts


def _placed(lake: str, topic: str, rows: pa.Table) -> pa.Table:
    """Rows of a bronze table: by their key each in a partition of Kafka, offsets counted on."""
    ends = bronze_tables.ends(bronze_tables.open_table(bronze_tables.table_path(lake, topic)))
    keys = rows["key"].combine_chunks().dictionary_encode()
    of_key = np.array([crc32(key.encode()) % PARTITIONS for key in keys.dictionary.to_pylist()], np.int32)
    partition: NDArray[np.int32] = of_key[keys.indices.to_numpy()]
    offset = np.empty(len(partition), np.int64)
    for number in range(PARTITIONS):
        here = np.flatnonzero(partition == number)
        offset[here] = ends.get(number, -1) + 1 + np.arange(len(here))
    made = {name: rows[name] for name in ("topic", "key", "value", "timestamp_ms")}
    made |= {"partition": pa.array(partition), "offset": pa.array(offset)}
    made["ingested_at_ms"] = pc.add(rows["timestamp_ms"], INGESTED_AFTER_MS)
    nothing = pa.nulls(rows.num_rows, pa.string())
    return pa.table([made.get(name, nothing) for name in ARROW_SCHEMA.names], schema=ARROW_SCHEMA)


def _append(path: str, rows: pa.Table, trigger_seconds: float) -> None:
    from deltalake.transaction import AddAction

    bucket = rows["timestamp_ms"].to_numpy() // int(trigger_seconds * 1000)
    ends = np.append(np.flatnonzero(np.diff(bucket)) + 1, len(bucket))
    actions = []
    for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        name, part = f"part-{uuid4()}.parquet", rows.slice(start, end - start)
        pq.write_table(part, f"{path}/{name}")
        size = Path(f"{path}/{name}").stat().st_size
        actions.append(AddAction(name, size, {}, int(rows["timestamp_ms"][end - 1].as_py()), True, _stats(part)))
    table = bronze_tables.open_table(path)
    table.create_write_transaction(actions, "append", table.schema())
    bronze_tables.open_table(path).create_checkpoint()


def _stats(rows: pa.Table) -> str:
    limits = {name: pc.min_max(rows[name]).as_py() for name in STATED}
    return json.dumps(
        {
            "numRecords": rows.num_rows,
            "minValues": {name: limit["min"] for name, limit in limits.items()},
            "maxValues": {name: limit["max"] for name, limit in limits.items()},
            "nullCount": dict.fromkeys(STATED, 0),
        }
    )
