"""How commands come by their settings.

``up`` starts from the defaults, the file of its environment and what its variables say, so taking a
variable away takes its effect away; it records what it was told and chose. Every other command reads
that record, so it needs nothing but ``SENTINELA_HOME`` (and the variables that the file names).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from pix.environments import BadEnvironment
from pix.settings import Settings, filed
from sentinela.errors import BadUse
from sentinela.runtime.home import Home, read_layout, read_runtime

REPOSITORY = Path(__file__).resolve().parents[1]
PORTS = (
    "kafka_port",
    "kafka_controller_port",
    "mlflow_port",
    "serving_port",
    "dagster_port",
    "dagster_code_port",
)
CHOSEN = (*PORTS, "first_day")
# These may carry passwords: they stay in the environment of whoever set them.
NEVER_RECORDED = frozenset({"home", "kafka_config", "spark_config"})


def current() -> tuple[Settings, Home]:
    """Settings of the instance as it runs: environment first, then what ``up`` recorded.

    Raises:
        BadUse: a setting cannot be read, or the home is of another layout.
    """
    home = find_home()
    return _parse({"home": home.root}), home


def for_start(proposed: Mapping[str, Any] | None = None) -> tuple[Settings, Home, frozenset[str]]:
    """Settings to start an instance with, and the names that were configured by hand.

    What an earlier ``up`` chose is proposed again, so that addresses and days stay what they were.

    Args:
        proposed: Values for a home that nobody configured otherwise.
    """
    home = find_home()
    told = _variables()
    recorded = read_runtime(home).get("settings", {})
    fields = Settings.model_fields.items()
    values = {name: field.get_default(call_default_factory=True) for name, field in fields}
    try:
        from_file = filed(told.get("environment", values["environment"]), told)
    except BadEnvironment as error:
        raise BadUse(str(error)) from error
    values |= dict(proposed or {}) | {name: recorded[name] for name in CHOSEN if name in recorded}
    values |= from_file | told
    return _parse({**values, "home": home.root}), home, frozenset(told | from_file)


def to_record(settings: Settings) -> dict[str, Any]:
    """What later commands must know: what `up` chose and variables said; the environment's file they read again."""
    names = {*CHOSEN, *_variables()} - NEVER_RECORDED
    return {name: value for name, value in settings.model_dump(mode="json").items() if name in names}


def find_home() -> Home:
    """The home named by the environment, its layout checked before anything in it is believed."""
    named = _variables().get("home") or Settings.model_fields["home"].default
    home = Home(Path(str(named)).expanduser().absolute())
    read_layout(home)
    return home


def _variables() -> dict[str, Any]:
    try:
        return dict(EnvSettingsSource(Settings)())
    except SettingsError as error:
        raise BadUse(f"a SENTINELA_ variable cannot be read: {error}") from error


def _parse(values: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except BadEnvironment as error:
        raise BadUse(str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        told = f"setting {name}={first['input']!r}: {first['msg']}"
        raise BadUse(f"{told}; set SENTINELA_{name.upper()}") from error
