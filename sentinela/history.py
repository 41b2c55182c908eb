"""The inbox of past payments: what `import` puts there, the import asset takes in and deletes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pix.offline import inbox
from pix.offline.inbox import Deposit, NothingToImport
from pix.offline.mapping import Mapping, parse
from pix.offline.mapping_checks import MappingProblem
from pix.offline.names import UnusableName
from pix.offline.sources import UnreadableFile
from sentinela.errors import BadUse

INBOX = "inbox"


def read_mapping(path: Path) -> Mapping:
    """The mapping in a YAML file.

    Raises:
        BadUse: It cannot be read, or is wrong; every mistake is named with its path in the YAML.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadUse(f"--mapping {path} cannot be read: {error}") from error
    with as_bad_use(str(path)):
        return parse(text)


def deposit(home: Path, source: Path, history: str, mapping: Mapping | None = None) -> Deposit:
    """Copy what is to be imported into the home's inbox.

    Raises:
        BadUse: The name, the source or the mapping cannot be used.
    """
    with as_bad_use("--mapping"):
        return inbox.deposit(home / INBOX, source, history, mapping)


@contextmanager
def as_bad_use(mapping: str) -> Iterator[None]:
    """Tell what is wrong with the call or its input as such.

    Args:
        mapping: How the user knows the mapping.
    """
    try:
        yield
    except MappingProblem as problem:
        lines = "".join(f"\n  {each.path}: {each.reason}" for each in problem.mistakes)
        raise BadUse(f"{mapping} is wrong (its options are in docs/import.md):{lines}") from problem
    except UnusableName as error:
        raise BadUse(f"--history {error}") from error
    except (NothingToImport, UnreadableFile) as error:
        raise BadUse(str(error)) from error
