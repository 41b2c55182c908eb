"""One file of settings for each environment, ``config/environments/NAME.yaml``.

A file names fields of ``pix.settings.Settings``. ``${NAME}`` in a text stands for a variable of the process, so that a
password never has to be written down; a variable is needed only where nothing of more authority sets the field.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "config" / "environments"
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class BadEnvironment(ValueError):
    """An environment's file is not there, or says what cannot be meant; the message names file and field."""


def file_of(environment: str) -> Path:
    """Where an environment's settings are.

    Args:
        environment: A name in ``FOLDER``, or the path of a file that ends with ``.yaml``, from the project's root.

    Raises:
        BadEnvironment: There is no such file.
    """
    path = ROOT / environment if environment.endswith(".yaml") else FOLDER / f"{environment}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.yaml")))
        raise BadEnvironment(
            f"environment {environment!r} has no file {path}; SENTINELA_ENVIRONMENT is one of {known}, or a .yaml file"
        )
    return path


def read(
    environment: str, *, known: Collection[str], given: Collection[str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """What an environment's file says of the fields that nothing else sets.

    Args:
        environment: As ``file_of`` takes it.
        known: Names of all fields it may set.
        given: Fields that are set elsewhere; what the file says of them is left out.
        variables: What ``${NAME}`` stands for.

    Raises:
        BadEnvironment: There is no such file; or it is no mapping, names an unknown field, or needs a variable that is
            not set.
    """
    path = file_of(environment)
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise BadEnvironment(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise BadEnvironment(f"{path} holds a {type(content).__name__}; write settings as `name: value` lines")
    for name in content:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "pix/settings.py lists them"
            raise BadEnvironment(f"{path}: there is no setting {name!r}; {hint}")
    return {name: _filled(value, variables, f"{path}: {name}") for name, value in content.items() if name not in given}


def _filled(value: Any, variables: Mapping[str, str], where: str) -> Any:
    """The value with its variables' values, in texts however deep."""
    if isinstance(value, dict):
        return {name: _filled(each, variables, f"{where}.{name}") for name, each in value.items()}
    if not isinstance(value, str):
        return value
    for name in VARIABLE.findall(value):
        if name not in variables:
            field = where.rpartition(": ")[2].partition(".")[0]
            raise BadEnvironment(
                f"{where} needs the variable {name}, which is not set; set it, write the value into the file, or "
                f"set SENTINELA_{field.upper()}"
            )
    return VARIABLE.sub(lambda found: variables[found[1]], value)
