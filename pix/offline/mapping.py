"""A mapping: which column of somebody's file is which field of a payment, and what its labels say.

Parsed once from YAML or from a Dagster configuration, checked whole, then trusted; every mistake is told with
its path in the YAML and what is allowed there. ``docs/import.md`` explains each option.

MappingProblem      the mapping is wrong, or does not fit the file
"""

from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pix.offline.mapping_checks import MappingProblem, Mistake, Verdict, field_mistakes, label_mistakes

FraudKind = Literal["SCAM", "ACCOUNT_TAKEOVER", "COERCION", "FRAUDULENT_ACCESS", "OTHER", "UNKNOWN"]


class Options(BaseModel):
    """Options of the YAML; an unknown one is refused with those that exist."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            raise ValueError(f"must hold options: {', '.join(cls.model_fields)}")
        unknown = sorted(content.keys() - cls.model_fields.keys())
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no such option; there are {', '.join(cls.model_fields)}")
        return content


def _short(content: Any) -> Any:
    return {"column": content} if isinstance(content, str) else content


class FieldSource(Options):
    """Where a field comes from: a column, a constant, or (an EndToEndId) the row itself.

    Attributes:
        column: Name of the column.
        constant: The same for every row, in the column's stead.
        unit: Of money, times and durations.
        start: Where steps of time begin, RFC 3339 or a date; needed for seconds, minutes, hours, days.
        zone: IANA time zone of times without an offset.
        template: Text around the value, with {} in its place.
        values: What each value of the column stands for; others are refused.
        hashed: Make an account number of any text, deterministically; the template's {} takes it.
        derived: Make the EndToEndId from history, row number and row.
        ispb: Of the institution in derived EndToEndIds.
    """

    column: str | None = None
    constant: str | None = None
    unit: str | None = None
    start: str | None = None
    zone: str | None = None
    template: str | None = None
    values: dict[str, str] | None = None
    hashed: bool = False
    derived: bool = False
    ispb: Annotated[str, Field(pattern=r"^[0-9A-Z]{8}$")] | None = None


class TableSource(Options):
    """Where a table is and how it is written.

    Attributes:
        member: Its name in the archive, or the end of its path there.
        format: csv or parquet; by default what the name ends with.
        delimiter: Between the columns of a CSV.
        quote: Around values that hold delimiters or line ends; empty for none.
        encoding: Of a CSV.
        decimal: Decimal sign of a CSV.
        missing: Texts that mean that a value is missing.
    """

    member: str | None = None
    format: Literal["csv", "parquet"] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Field(max_length=1)] = '"'
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    decimal: Literal[".", ","] = "."
    missing: tuple[str, ...] = ("",)


class PaymentTable(TableSource):
    """The table of payments.

    Attributes:
        fields: Field of the payment to its source; a plain text is the name of a column.
    """

    fields: dict[str, Annotated[FieldSource, BeforeValidator(_short)]]


class LabelTable(TableSource):
    """What is known about payments, from a column beside them or from a second table.

    Attributes:
        per: Whether a row speaks of one payment or of an account.
        file: A second file, in the folder of the first; or ``member``, in the same archive; or neither.
        key: Column of the second table that names the payment or account.
        matches: Column of the payments that the key of a payment equals.
        accounts: Whose label makes a payment fraud: the payer's, the payee's, either's, or only both together.
        column: The label.
        values: What each value says: fraud, legitimate, unknown or dismissed.
        otherwise: What any other value says, a missing one too; refused by default.
        unlisted: What it says that the second table has no row.
        reporting_delay_days: How long after a payment its label became known.
        fraud_type: The kind of every fraud, or a column of it.
    """

    per: Literal["payment", "account"]
    file: Annotated[str, Field(pattern=r"^[^/\\]+$")] | None = None
    key: str | None = None
    matches: str | None = None
    accounts: Literal["payer", "payee", "either", "both"] | None = None
    column: str
    values: dict[str, Verdict]
    otherwise: Verdict | Literal["refused"] = "refused"
    unlisted: Verdict = "unknown"
    reporting_delay_days: Annotated[float, Field(ge=0, le=3650)]
    fraud_type: FraudKind = "UNKNOWN"

    @property
    def is_apart(self) -> bool:
        """Whether the labels come from a second table."""
        return self.file is not None or self.member is not None


class Mapping(Options):
    """A whole mapping."""

    description: str = ""
    payments: PaymentTable
    labels: LabelTable | None = None

    def canonical(self) -> dict[str, Any]:
        """What was chosen, without defaults; ``parse`` takes it back."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def columns(self) -> dict[str, str]:
        """Columns that the table of payments must have, and where the mapping names them."""
        found = {
            source.column: f"payments.fields.{name}.column"
            for name, source in self.payments.fields.items()
            if source.column is not None
        }
        if self.labels is not None and self.labels.matches is not None:
            found.setdefault(self.labels.matches, "labels.matches")
        if self.labels is not None and not self.labels.is_apart:
            found[self.labels.column] = "labels.column"
        return found

    def label_columns(self) -> dict[str, str]:
        """The same for the second table; empty where there is none."""
        if self.labels is None or not self.labels.is_apart:
            return {}
        return {self.labels.column: "labels.column", str(self.labels.key): "labels.key"}

    def matched(self) -> tuple[str, ...]:
        """Columns of the payments that a second table's key is looked for in."""
        if self.labels is None or not self.labels.is_apart:
            return ()
        if self.labels.per == "payment":
            return (str(self.labels.matches),)
        whose = ("payer", "payee") if self.labels.accounts in ("either", "both") else (self.labels.accounts,)
        return tuple(str(self.payments.fields[f"{each}_account"].column) for each in whose)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        mistakes = [*field_mistakes(self.payments.fields), *label_mistakes(self)]
        if mistakes:
            raise MappingProblem(*mistakes)
        return self


def parse(text: str) -> Mapping:
    """The mapping in a YAML text.

    Raises:
        MappingProblem: With everything that is wrong in it.
    """
    try:
        # Every scalar stays a text: `no` is no boolean and 001 no number before an option says so.
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a BaseLoader makes texts, lists and mappings only
    except yaml.YAMLError as error:
        raise MappingProblem(Mistake("mapping", f"is no YAML: {' '.join(str(error).split())}")) from None
    return from_content(content)


def from_content(content: Any) -> Mapping:
    """The mapping in a structure, such as a Dagster configuration.

    Raises:
        MappingProblem: With everything that is wrong in it.
    """
    try:
        return Mapping.model_validate(_texts(content))
    except ValidationError as broken:
        raise MappingProblem(*(_mistake(error) for error in broken.errors(include_url=False))) from None


class _Loader(yaml.BaseLoader):
    """Texts, lists and mappings; a key given twice is a mistake, not a choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [str(key.value) for key, _ in node.value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _texts(content: Any) -> Any:
    if isinstance(content, dict):
        return {_text(key): _texts(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_texts(value) for value in content]
    return _text(content)


def _text(scalar: object) -> str:
    if isinstance(scalar, bool):
        return "true" if scalar else "false"
    return "" if scalar is None else str(scalar)


def _mistake(error: Any) -> Mistake:
    path = ".".join(str(part) for part in error["loc"] if not str(part).startswith("function-")) or "mapping"
    expected = error.get("ctx", {}).get("expected")
    if error["type"] == "missing":
        return Mistake(path, "is required")
    if expected is not None:
        return Mistake(path, f"{error['input']!r} is not one of {expected.replace(' or ', ', ')}")
    return Mistake(path, error["msg"].removeprefix("Value error, "))
