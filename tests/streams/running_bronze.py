"""The bronze query in a thread, on the tests' Spark session."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable

from fraud_streaming import bronze, bronze_tables
from fraud_streaming.lifetime import Cadence, Stop
from pix.tokens import Keyring
from tests.streams.support import wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def offsets(lake: Path, topic: str) -> list[tuple[int, int]]:
    path = bronze_tables.table_path(str(lake), topic)
    if not DeltaTable.is_deltatable(path):
        return []
    table = pa.table(DeltaTable(path).scan(columns=["partition", "offset"]).read_all())
    return sorted((row["partition"], row["offset"]) for row in table.to_pylist())


def newest_file(folder: Path) -> Path:
    return max((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))


class Running:
    """Bronze in a thread of this process; ``reports`` holds what it told."""

    def __init__(self, spark: "SparkSession", bootstrap: str, home: Path, keyring: Keyring) -> None:
        self.stop = Stop()
        self.reports: list[dict[str, object]] = []
        self.error: BaseException | None = None

        def body() -> None:
            try:
                bronze.run(
                    spark,
                    kafka={"bootstrap.servers": bootstrap},
                    lake=str(home / "lake"),
                    checkpoint=home / "streams" / "bronze",
                    lock=home / "locks" / "bronze.jvm",
                    keyring=keyring,
                    trigger_seconds=0.5,
                    stop=self.stop,
                    report=self.reports.append,
                    cadence=Cadence(every_seconds=1, first_seconds=1),
                )
            except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
                self.error = error

        self._thread = threading.Thread(target=body)
        self._thread.start()

    def end(self) -> None:
        self.stop.ask("TEST")
        self._thread.join(60)
        assert not self._thread.is_alive()

    def until(self, true: Callable[[], bool]) -> None:
        wait_until(lambda: self.error is not None or true(), seconds=60)
        if self.error is not None:
            raise self.error
