"""``python -m pix.contracts``: write the published contracts anew from the models.

A schema that would refuse messages which the published one takes is not written; ``--break`` writes it all
the same, and belongs with a paragraph in ``docs/decisions.md``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pix.contracts import asyncapi
from pix.contracts.compatibility import breaks
from pix.contracts.schemas import CONTRACTS, schema, schema_text

FOLDER = Path(__file__).parents[2] / "contracts"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files; 1 if some schema would break senders or readers."""
    parser = argparse.ArgumentParser(prog="python -m pix.contracts", description="Write contracts/ from the models.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files are")
    parser.add_argument("--break", dest="is_allowed", action="store_true", help="write incompatible schemas, too")
    options = parser.parse_args(arguments)
    found = incompatible(options.folder)
    for line in found:
        sys.stderr.write(f"{line}\n")
    if found and not options.is_allowed:
        sys.stderr.write("nothing was written; keep the contract compatible, or see --break\n")
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (options.folder / name).write_text(text, encoding="utf-8")
    return 0


def files() -> dict[str, str]:
    """Name and content of every published file."""
    schemas = {contract.file: schema_text(schema(contract)) for contract in CONTRACTS}
    return {**schemas, asyncapi.FILE: asyncapi.text()}


def incompatible(folder: Path) -> list[str]:
    """What the models would break of the schemas in a folder, one line each."""
    lines = []
    for contract in CONTRACTS:
        path = folder / contract.file
        if path.exists():
            published = json.loads(path.read_text(encoding="utf-8"))
            lines += [
                f"{contract.file}: {found.field or 'message'}: {found.reason}"
                for found in breaks(published, schema(contract))
            ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
