"""What a payee got lately, from the lake: for an analyst who looks at one payment.

The lake is behind by as long as silver and gold were not materialised; the answer says since when. It is read in a
thread of its own, one question at a time, so that a slow lake holds up nothing but reviews.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltalake import DeltaTable

log = logging.getLogger(__name__)

PAYMENTS, DECISIONS = "silver/payments", "gold/decisions"
MOST = 20
SECONDS = 5.0
UPKEEP = ("OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES")
"""Operations that leave a table's rows as they are."""


@dataclass(frozen=True, slots=True)
class PayeePayments:
    """The newest payments of one payee.

    Attributes:
        as_of_ms: When the table that they are from was last brought up to date, epoch milliseconds; None without one.
        payments: The newest first: end_to_end_id, event_time_ms, amount_cents, payer_account, source, outcome, action
            and is_fraud (None where nobody decided or knows).
        problem: Why there are none to show; None if they could be read.
    """

    as_of_ms: int | None = None
    payments: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None


async def no_lake(tenant: str, payee_account: str) -> PayeePayments:  # noqa: ARG001
    """Instead of ``PayeeReader.of``, in a service without a lake."""
    return PayeePayments(problem="this service reads no lake")


class PayeeReader:
    """Reads the lake of one instance."""

    def __init__(self, lake_root: str) -> None:
        """Begin; nothing is read yet.

        Args:
            lake_root: Root of the Delta tables.
        """
        # delta-rs calls S3 by its own name.
        self._root = lake_root.replace("s3a://", "s3://", 1)
        self._thread = ThreadPoolExecutor(1, "payee-payments")

    async def of(self, tenant: str, payee_account: str) -> PayeePayments:
        """The newest payments to an account; says why where the lake does not answer in time.

        Args:
            tenant: Of the payments.
            payee_account: Token of the account.
        """
        reading = asyncio.get_running_loop().run_in_executor(self._thread, self._read, tenant, payee_account)
        try:
            return await asyncio.wait_for(reading, SECONDS)
        except TimeoutError:
            return PayeePayments(problem=f"the lake did not answer within {SECONDS:.0f} s; ask again")

    def _read(self, tenant: str, payee_account: str) -> PayeePayments:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            paths = {name: f"{self._root}/{name}" for name in (PAYMENTS, DECISIONS)}
            tables = {name: DeltaTable(path) for name, path in paths.items() if DeltaTable.is_deltatable(path)}
            if PAYMENTS not in tables:
                return PayeePayments(problem=f"{PAYMENTS} was never materialised; do that in Dagster")
            rows = _newest(tables[PAYMENTS], tenant, payee_account)
            known = _decided(tables[DECISIONS], tenant, rows) if DECISIONS in tables and rows else {}
            nothing = {"action": None, "is_fraud": None}
            return PayeePayments(
                _as_of_ms(tables[PAYMENTS]), [{**row, **known.get(row["end_to_end_id"], nothing)} for row in rows]
            )
        except (DeltaError, OSError) as broken:
            log.warning("the payments of a payee could not be read: %s", broken)
            return PayeePayments(problem="the lake cannot be read now; the service's log says why")


def _newest(payments: "DeltaTable", tenant: str, payee_account: str) -> list[dict[str, Any]]:
    columns = "end_to_end_id, event_time_ms, amount_cents, payer_account, source, outcome"
    where = f"tenant = {_text(tenant)} and payee_account = {_text(payee_account)}"
    return _asked(payments, columns, f"{where} order by event_time_ms desc, end_to_end_id limit {MOST}")


def _decided(decisions: "DeltaTable", tenant: str, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    ids = ", ".join(_text(row["end_to_end_id"]) for row in rows)
    where = f"tenant = {_text(tenant)} and end_to_end_id in ({ids})"
    return {row.pop("end_to_end_id"): row for row in _asked(decisions, "end_to_end_id, action, is_fraud", where)}


def _asked(table: "DeltaTable", columns: str, where: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    from deltalake import QueryBuilder

    # Every value in it went through ``_text``.
    sql = f"select {columns} from asked where {where}"  # noqa: S608
    found: list[dict[str, Any]] = pa.table(QueryBuilder().register("asked", table).execute(sql).read_all()).to_pylist()
    return found


def _text(value: str) -> str:
    """A value as SQL writes it; in its standard, which DataFusion keeps, a quote is the only character to mind."""
    doubled = value.replace("'", "''")
    return f"'{doubled}'"


def _as_of_ms(table: "DeltaTable") -> int | None:
    changes = (each["timestamp"] for each in table.history(20) if each.get("operation") not in UPKEEP)
    return next(changes, None)


def instant(at_ms: int | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
