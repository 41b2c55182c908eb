"""What an ensemble is made of, as data: ``manifest.json`` beside the files of its members.

    raw score = intercept + sum of weight x log-odds of each member
    probability = sigmoid(calibration(raw score))

The calibration is monotone and comes last, so contributions of features sum to the raw score.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from learning.errors import ArtefactRefused
from pix.contracts import InvalidMessage, parse_json_object

MANIFEST_FILE = "manifest.json"
MAX_BYTES = 4 * 2**20
Number = Annotated[float, Field(allow_inf_nan=False)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
FileName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_.-]{0,63}$")]
Word = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,31}$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Input(_Part):
    """One input of a member: a feature, and what it meant when the member was trained."""

    name: str = Field(min_length=1, max_length=128)
    declaration: Hash


class Member(_Part):
    """One model of the ensemble.

    Attributes:
        kind: Which class reads its file; see ``learning.ensemble.KINDS``.
        name: Its name on records and reports.
        file: The model, in the kind's own format.
        checks: Rows with the answers of the library that trained it; see ``learning.checks``.
        weight: Of its log-odds in the raw score.
        inputs: In the model's order.
    """

    kind: Word
    name: Word
    file: FileName
    checks: FileName
    weight: Number
    inputs: list[Input] = Field(min_length=1)

    @model_validator(mode="after")
    def _inputs_are_distinct(self) -> Self:
        names = [one.name for one in self.inputs]
        if len(set(names)) != len(names):
            raise ValueError("an input appears more than once")
        return self


class Point(_Part):
    """One point of the calibration; between two it is linear, beyond the outermost it goes on with slope 1."""

    raw: Number
    log_odds: Number


class Manifest(_Part):
    """``manifest.json``.

    Attributes:
        format: Of this file.
        fingerprint: Of the features that were declared when the ensemble was trained.
        intercept: Added to the members' part of the raw score.
        members: In the order in which their parts are added.
        calibration: Rising points; none leaves the raw score as it is.
        libraries: Version of each library that made the members.
    """

    format: Literal[1] = 1
    fingerprint: Hash
    intercept: Number = 0.0
    members: list[Member] = Field(min_length=1)
    calibration: list[Point] = []
    libraries: dict[str, str]

    @model_validator(mode="after")
    def _members_are_distinct(self) -> Self:
        names = [member.name for member in self.members]
        files = [file for member in self.members for file in (member.file, member.checks)]
        if len(set(names)) != len(names) or len(set(files)) != len(files):
            raise ValueError("two members share a name or a file")
        return self

    @model_validator(mode="after")
    def _calibration_rises(self) -> Self:
        for one, after in pairwise(self.calibration):
            if after.raw <= one.raw or after.log_odds < one.log_odds:
                raise ValueError(f"calibration must rise, it does not from raw {one.raw} to {after.raw}")
        return self

    def write(self, folder: Path, prefix: str = "") -> None:
        """Write ``manifest.json`` into a folder, under a name that begins with ``prefix``."""
        (folder / f"{prefix}{MANIFEST_FILE}").write_text(json.dumps(self.model_dump(), indent=1) + "\n")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest strictly.

    Raises:
        ArtefactRefused: It is missing, or some field of it is wrong; names it.
    """
    try:
        content = parse_json_object(path.read_bytes(), MAX_BYTES)
        return Manifest.model_validate(content)
    except OSError as missing:
        why = str(missing)
    except InvalidMessage as broken:
        why = str(broken)
    except ValidationError as broken:
        first = broken.errors(include_url=False, include_input=False)[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'as a whole'}: {first['msg']}"
    raise ArtefactRefused("malformed", f"{path} is no manifest of an ensemble: {why}; train and register again")
