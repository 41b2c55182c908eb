"""librdkafka's own performance tool, made from its sources: they are in the crate ``rdkafka-sys``, which cargo brings.

Nothing of it is kept: sources and tool are in the folder that the caller gives. Needs cargo, a C compiler and make.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CRATE, VERSION = "rdkafka-sys", "4"
# Plain connections and lz4, which librdkafka brings itself; nothing that has to be installed first.
WITHOUT = ("ssl", "gssapi", "zstd", "curl", "syslog", "lz4-ext")
MANIFEST = f"""\
[package]
name = "sources"
version = "0.0.0"
edition = "2021"

[dependencies]
{CRATE} = {{ version = "{VERSION}", default-features = false }}
"""
TOLD = re.compile(rb"(\d+) messages (?:produced )?\((\d+) bytes\)")
NEEDED = ("cargo", "cc", "make", "bash")


class NoTool(Exception):
    """The tool could not be made."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of the tool: messages and bytes it says that it moved, and processor seconds of its process."""

    messages: int
    bytes: int
    cpu_seconds: float


def build(folder: Path) -> Path:
    """Get the sources, compile; the tool.

    Raises:
        NoTool: What is missing, or the end of what a step said.
    """
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        raise NoTool(f"{', '.join(missing)} is not installed; librdkafka's performance tool is built with it")
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "lib.rs").touch()
    (folder / "Cargo.toml").write_text(MANIFEST)
    _step(["cargo", "vendor", "--quiet", "vendor"], folder)
    sources = folder / "vendor" / CRATE / "librdkafka"
    _step(["bash", "./configure", "--enable-static", *(f"--disable-{part}" for part in WITHOUT)], sources)
    _step(["make", "-s", f"-j{os.cpu_count() or 1}", "-C", "src", "librdkafka.a"], sources)
    _step(["make", "-s", "-C", "examples", "rdkafka_performance"], sources)
    return sources / "examples" / "rdkafka_performance"


def _step(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        raise NoTool(f"`{' '.join(command[:2])}` failed: {(done.stderr or done.stdout)[-1000:]}")


def run(tool: Path, *options: str) -> Ran:
    """Run it to its end.

    Raises:
        NoTool: It ended badly, or says nothing of what it did.
    """
    process = subprocess.Popen([tool, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603 - built here
    said = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    found = TOLD.findall(said)
    if process.returncode or not found:
        raise NoTool(f"the performance tool ended with {process.returncode}: {said[-1000:].decode(errors='replace')}")
    messages, size = found[-1]
    return Ran(int(messages), int(size), usage.ru_utime + usage.ru_stime)
