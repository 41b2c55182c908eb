"""How commands come by their settings.

``up`` starts from the defaults and what its environment says, so taking a variable away takes its
effect away; it records what it was told and chose. Every other command reads that record, so it needs
nothing but ``SENTINELA_HOME``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from pix.settings import Settings
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
# These may carry passwords: they stay in the environment of whoever set them.
NEVER_RECORDED = frozenset({"home", "kafka_config", "spark_config"})


def current() -> tuple[Settings, Home]:
    """Settings of the instance as it runs: environment first, then what ``up`` recorded.

    Raises:
        BadUse: a setting cannot be read, or the home is of another layout.
    """
    home = find_home()
    return _parse({"home": home.root}), home


def for_start() -> tuple[Settings, Home, frozenset[str]]:
    """Settings to start an instance with, and the names that were configured by hand.

    Ports chosen by an earlier ``up`` are proposed again, so that addresses stay what they were.
    """
    home = find_home()
    told = _environment()
    recorded = read_runtime(home).get("settings", {})
    fields = Settings.model_fields.items()
    values = {name: field.get_default(call_default_factory=True) for name, field in fields}
    values |= {name: recorded[name] for name in PORTS if name in recorded}
    values |= told
    return _parse({**values, "home": home.root}), home, frozenset(told)


def to_record(settings: Settings, configured: frozenset[str]) -> dict[str, Any]:
    """What later commands must know: every port, and what was configured by hand."""
    names = {*PORTS, *configured} - NEVER_RECORDED
    return {name: value for name, value in settings.model_dump(mode="json").items() if name in names}


def find_home() -> Home:
    """The home named by the environment, its layout checked before anything in it is believed."""
    named = _environment().get("home") or Settings.model_fields["home"].default
    home = Home(Path(str(named)).expanduser().absolute())
    read_layout(home)
    return home


def _environment() -> dict[str, Any]:
    try:
        return dict(EnvSettingsSource(Settings)())
    except SettingsError as error:
        raise BadUse(f"a SENTINELA_ variable cannot be read: {error}") from error


def _parse(values: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        told = f"setting {name}={first['input']!r}: {first['msg']}"
        raise BadUse(f"{told}; set SENTINELA_{name.upper()}") from error
