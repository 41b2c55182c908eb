"""The compiled kernel is loaded from its cache, and never from one of other sources."""

import os
import subprocess
import sys
from pathlib import Path

COUNT = """
import sys
from pix.engines import compiled
points = compiled.entry_points(compiled.STAMP + int(sys.argv[1]))
print(*(sum(counter.values()) for point in points for counter in (point.stats.cache_hits, point.stats.cache_misses)))
"""


def hits_and_misses(cache: Path, moved: int) -> list[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    process = subprocess.run(
        [sys.executable, "-c", COUNT, str(moved)], capture_output=True, text=True, env=environment, check=True
    )
    return process.stdout.split()


def test_a_second_process_compiles_nothing_and_changed_sources_compile_anew(tmp_path: Path) -> None:
    hits_and_misses(tmp_path, 0)
    assert hits_and_misses(tmp_path, 0) == ["1", "0"] * 4
    assert hits_and_misses(tmp_path, 1) == ["0", "1"] * 4
