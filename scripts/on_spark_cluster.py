"""Run a command with Sentinela on a Spark standalone master and one worker, both on this machine.

The command gets ``SENTINELA_ENVIRONMENT``, a file that names the master, and ``{environment}`` in its words stands for
that file; nothing else differs. Master and worker end with it. Fails if nothing ran on them.

    python scripts/on_spark_cluster.py pytest -m "not faults" --environment {environment} tests/test_end_to_end.py
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark
import yaml

from pix.environments import file_of

HOST = "127.0.0.1"
START_SECONDS = 60.0
# Each driver takes what it is bound to: bronze runs all the time beside one materialisation.
WORKER_CORES, CORES_A_DRIVER = 4, 2


def main() -> int:
    """Exit status of the command."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sentinela-spark-")))
        port, master_ui, worker_ui = free_ports(3)
        master = f"spark://{HOST}:{port}"
        stack.enter_context(
            running(folder, "master.Master", "--host", HOST, "--port", str(port), "--webui-port", str(master_ui))
        )
        answered(f"http://{HOST}:{master_ui}/json/", '"ALIVE"', folder)
        worker = ("--host", HOST, "--cores", str(WORKER_CORES), "--memory", "4g", "--work-dir", str(folder / "work"))
        stack.enter_context(running(folder, "worker.Worker", *worker, "--webui-port", str(worker_ui), master))
        answered(f"http://{HOST}:{master_ui}/json/", '"aliveworkers" : 1', folder)
        environment = written(folder, master)
        print(f"Spark master {master} with one worker; SENTINELA_ENVIRONMENT={environment}", file=sys.stderr)
        words = [word.replace("{environment}", str(environment)) for word in sys.argv[1:]]
        done = subprocess.run(words, env={**os.environ, "SENTINELA_ENVIRONMENT": str(environment)}, check=False)
        applications = ran(f"http://{HOST}:{master_ui}/json/")
        print(f"Spark ran {applications} applications", file=sys.stderr)
        return done.returncode or int(not applications)


def written(folder: Path, master: str) -> Path:
    """The local environment with another master."""
    local = yaml.safe_load(file_of("local").read_text())
    bound = {"spark.cores.max": str(CORES_A_DRIVER), "spark.executor.memory": "1g"}
    # The drivers are on this machine, whatever its name resolves to.
    loopback = {"spark.driver.host": HOST, "spark.driver.bindAddress": HOST}
    path = folder / "standalone.yaml"
    path.write_text(yaml.safe_dump({**local, "spark_master": master, "spark_config": {**bound, **loopback}}))
    return path


@contextmanager
def running(folder: Path, role: str, *options: str) -> Iterator[None]:
    """A daemon of Spark's standalone cluster, its log in the folder."""
    spark = Path(pyspark.__file__).parent
    command = [str(spark / "bin" / "spark-class"), f"org.apache.spark.deploy.{role}", *options]
    environment = {**os.environ, "SPARK_HOME": str(spark), "SPARK_LOCAL_IP": HOST, "SPARK_DAEMON_MEMORY": "512m"}
    with (folder / f"{role}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def answered(url: str, wanted: str, folder: Path) -> None:
    """Wait until a page says what it should."""
    deadline = time.monotonic() + START_SECONDS
    while wanted not in (said := page(url)):
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
            raise SystemExit(f"{url} does not say {wanted} after {START_SECONDS:.0f} s but {said[:300]!r}\n{logs}")
        time.sleep(0.3)


def page(url: str) -> str:
    """What a page says; nothing while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 - our own address
            said: bytes = answer.read()
    except (urllib.error.URLError, OSError):
        return ""
    return said.decode()


def ran(url: str) -> int:
    """How many applications the master knows of, running or done."""
    said = yaml.safe_load(page(url).replace("\t", " ")) or {}
    return len(said.get("activeapps", [])) + len(said.get("completedapps", []))


def free_ports(many: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(many)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    raise SystemExit(main())
