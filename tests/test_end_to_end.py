"""The demo in small, on the real broker, Spark, Delta, MLflow, BentoML and Dagster, with faults.

The tests run in this order on one instance and build on each other.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pix import topics
from pix.clock import epoch_ms
from pix.contracts import LIVE_HISTORY, canonical_json, label_id
from pix.features import FEATURE_NAMES
from pix.settings import Settings
from pix.simulator.simulation import SimulationPlan, simulate, write
from sentinela.dagster_runs import launch
from sentinela.history import deposit
from sentinela.sender import send_to_kafka
from sentinela.verify import gold_is_behind, read_table
from tests.streams.killing import Killer, told
from tests.streams.load import Load
from tests.streams.support import read_all, wait_until
from tests.streams.victims import Broker, CodeServer, Daemon, ServiceParent

pytestmark = pytest.mark.timeout(420)

REPOSITORY = Path(__file__).parents[1]
COMMAND = str(Path(sys.executable).with_name("sentinela"))
DAY_MS = 86_400_000
STREAMS = ("score_stream", "label_stream", "bronze_stream")
LIVE = 400
HISTORY_START_MS = 1_790_000_000_000
REST_PAYMENT: dict[str, Any] = {
    "end_to_end_id": f"E12345678{time.strftime('%Y%m%d%H%M', time.gmtime())}abcdefghijk",
    "initiated_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    "amount_cents": 12345,
    "payer_account": "12345678-0001-1234567",
    "payee_account": "87654321-0001-7654321",
}
NEXT_PAYMENT = {**REST_PAYMENT, "end_to_end_id": f"{REST_PAYMENT['end_to_end_id'][:-1]}z"}
MALFORMED = [
    b"not json",
    b'{"amount_cents": NaN}',
    b'{"end_to_end_id": "x", "amount_cents": -5}',
    b'{"unheard_of": 1}',
]


class Instance:
    """A running Sentinela in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "SENTINELA_HOME": str(home)}

    def run(self, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *words], env=self.environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout
        )

    def settings(self) -> Settings:
        return Settings(home=self.home)

    def services(self) -> dict[str, dict[str, Any]]:
        finished = self.run("status", "--json")
        return {service["name"]: service for service in json.loads(finished.stdout)["services"]}

    def wait_for_streams(self, seconds: float = 120) -> dict[str, dict[str, Any]]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            services = self.services()
            if all(services[name]["healthy"] for name in STREAMS):
                return services
            time.sleep(1)
        pytest.fail(f"the streams did not start: {services}")

    def verify(self, *words: str) -> tuple[int, dict[str, Any]]:
        finished = self.run("verify", "--json", *words)
        assert finished.stdout, finished.stderr
        return finished.returncode, json.loads(finished.stdout)

    def post(self, payment: dict[str, Any]) -> httpx.Response:
        settings = self.settings()
        headers = {"Authorization": f"Bearer {(settings.secrets / 'api-key').read_text().strip()}"}
        return httpx.post(f"{settings.service}/v1/decisions", json=payment, headers=headers, timeout=10)

    def launch(self, job: str) -> None:
        said: list[str] = []
        launch(self.settings().dagster, job, said.append)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Started once; ended by `sentinela down`, after which nothing of it may be left."""
    running = Instance(tmp_path_factory.mktemp("instance"))
    started = running.run("up")
    try:
        assert started.returncode == 0, started.stderr
        yield running
    finally:
        stopped = running.run("down")
        assert stopped.returncode == 0, stopped.stderr
        left = [p.pid for p in psutil.process_iter() if str(running.home) in _environment_of(p)]
        assert left == []


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What senders keep, outside the home: payments as they were sent, with clear identifiers."""
    return tmp_path_factory.mktemp("sent")


def _environment_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("SENTINELA_HOME", "")
    except psutil.Error:
        return ""


def test_everything_is_up(instance: Instance) -> None:
    services = instance.wait_for_streams()
    expected = {"kafka", "store", "mlflow", "serving", "dagster", "dagster-daemon", "supervisor", *STREAMS}
    assert expected <= {name for name, service in services.items() if service["healthy"]}


def test_a_history_becomes_a_champion_that_serves(instance: Instance, sent: Path) -> None:
    # A fixed past: what a challenger earns must not depend on the day the test runs.
    plan = SimulationPlan(
        seed=3, start_ms=HISTORY_START_MS, days=25, accounts=1_500, payments=8_000, fraud_per_100k=3_000
    )
    write(plan, sent)
    settings = instance.settings()
    deposit(settings.root, sent, LIVE_HISTORY)
    instance.launch("everything_job")
    headers = {"Authorization": f"Bearer {(settings.secrets / 'api-key').read_text().strip()}"}
    deadline = time.monotonic() + 30
    while not httpx.get(f"{settings.service}/v1/model", headers=headers).json()["model"]:
        assert time.monotonic() < deadline, "the service took no champion"
        time.sleep(0.5)
    store = httpx.get(f"{settings.service}/v1/store", headers=headers).json()
    # Beside the empty one of the beginning, which is kept for a roll-back.
    assert [(each["state"], each["identity"]["imports"]) for each in store["generations"]] == [
        ("retired", 0),
        ("active", 1),
    ]
    assert store["states"] > 8_000


def test_a_decision_by_rest_is_the_same_when_asked_again(instance: Instance) -> None:
    first, again = (instance.post(REST_PAYMENT) for _ in range(2))
    assert first.status_code == 200, first.text
    assert first.content == again.content
    assert first.json()["mode"] == "normal"
    assert instance.post({**REST_PAYMENT, "amount_cents": 1}).status_code == 409


def test_a_label_is_folded_once_and_reaches_the_lake(instance: Instance) -> None:
    settings = instance.settings()
    fields = {"end_to_end_id": REST_PAYMENT["end_to_end_id"], "kind": "confirmed", "source": "analyst"}
    fields |= {"effective_at": REST_PAYMENT["initiated_at"], "known_at": REST_PAYMENT["initiated_at"]}
    label = canonical_json({**fields, "label_id": label_id(fields)})
    posted = time.monotonic()
    send_to_kafka([label, label], None, settings.kafka, topic=topics.LABELS)
    place = (settings.kafka["bootstrap.servers"], topics.FOLDS, settings.kafka_partitions)
    wait_until(lambda: len(read_all(*place)) > 0, seconds=5)
    assert instance.post(NEXT_PAYMENT).status_code == 200
    assert time.monotonic() - posted < 5
    deadline = time.monotonic() + 60
    folds = read_table(settings.lake, "bronze/pix_folds", ["value"])
    while folds is None or not len(folds):
        assert time.monotonic() < deadline, "the label was not folded"
        time.sleep(1)
        folds = read_table(settings.lake, "bronze/pix_folds", ["value"])
    assert json.loads(folds["value"][0])["change"] == 1
    # Delivered twice: identical records may repeat, other ones may not.
    assert len(set(folds["value"])) == 1


def test_nothing_is_lost_when_the_scoring_job_is_killed(instance: Instance, sent: Path, tmp_path: Path) -> None:
    """Live payments, malformed ones among them; kill -9 of the scoring job in the middle."""
    now_ms = epoch_ms()
    seconds = 20
    plan = SimulationPlan(
        seed=3,
        start_ms=now_ms,
        days=seconds * 1000 / DAY_MS,
        accounts=1_500,
        payments=LIVE,
        fraud_per_100k=5_000,
        run=str(now_ms),
    )
    live = [canonical_json(payment) for payment in simulate(plan).payments]
    file = sent / "live.jsonl"
    file.write_bytes(b"\n".join([*live[:100], *MALFORMED, *live[100:]]) + b"\n")
    log = tmp_path / "sent.jsonl"
    words = [COMMAND, "send", str(file), "--via", "kafka", "--rate", str(LIVE / seconds), "--log", str(log)]
    sender = subprocess.Popen(words, env=instance.environment, cwd=REPOSITORY)
    time.sleep(seconds / 3)
    victim = instance.services()["score_stream"]["pid"]
    os.kill(victim, signal.SIGKILL)
    assert sender.wait(timeout=120) == 0
    assert instance.wait_for_streams()["score_stream"]["pid"] != victim

    verified = instance.run("verify", "--sent", str(log))
    assert verified.stdout.splitlines()[-1] == (
        f"sent={LIVE + len(MALFORMED)} decided={LIVE} quarantined={len(MALFORMED)} lost=0 duplicated=0 mismatched=0"
    ), verified.stderr
    assert verified.returncode == 0


def test_quarantine_names_the_reason_and_hides_the_payload(instance: Instance) -> None:
    columns = ["kind", "reason", "payload", "topic", "offset"]
    rows = read_table(instance.settings().lake, "silver/quarantine", columns)
    refused = rows[rows["topic"] == topics.TRANSACTIONS]
    assert len(refused) == len(MALFORMED)
    assert all(refused["reason"].str.len() > 5)
    assert not any("unheard_of" in payload for payload in refused["payload"])


def test_every_logged_vector_is_recomputed_offline(instance: Instance) -> None:
    """I3 on the whole instance: the blocking check of this job compares bit for bit."""
    instance.launch("features_job")
    columns = ["end_to_end_id", "source", "features", "logged", "carried", "logged_carried"]
    features = read_table(instance.settings().lake, "features/payment_features", columns)
    live = features[features["source"] == "live"]
    assert len(live) == LIVE + 2
    assert (live["carried"] == live["logged_carried"]).all()
    recomputed, logged = (np.stack([np.frombuffer(v) for v in live[name]]) for name in ("features", "logged"))
    assert np.array_equal(recomputed, logged, equal_nan=True)
    # The label that was posted between two payments to one account.
    frauds = [
        logged[list(live["end_to_end_id"]).index(payment["end_to_end_id"])][FEATURE_NAMES.index("payee_frauds_7d")]
        for payment in (REST_PAYMENT, NEXT_PAYMENT)
    ]
    assert frauds == [0.0, 1.0]


def test_a_second_stream_process_says_who_holds_the_lock(instance: Instance) -> None:
    """The planted fault: the scoring job is started once more, beside Dagster."""
    holder = instance.services()["score_stream"]["pid"]
    code = (
        "import dagster as dg; from fraud_assets.streams import stream_definitions; from pix.settings import Settings; "
        "stream_definitions(Settings()).get_job_def('score_stream').execute_in_process(instance=dg.DagsterInstance.ephemeral())"
    )
    second = subprocess.run(
        [sys.executable, "-c", code],
        env=instance.environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert second.returncode != 0
    assert str(holder) in second.stderr + second.stdout
    assert instance.services()["score_stream"]["pid"] == holder


def test_no_clear_identifier_is_left_anywhere(instance: Instance, sent: Path) -> None:
    """None but the planted ones, in a log and in a compressed table: the search can see."""
    live = (json.loads(line) for line in (sent / "live.jsonl").read_bytes().splitlines()[:100])
    payment = next(payment for payment in live if "payer_tax_id" in payment)
    root = instance.settings().root
    planted = root / "logs" / "planted.log", root / "lake" / "planted.parquet"
    planted[0].write_text(f"refused {payment['payer_tax_id']}\n")
    pq.write_table(pa.table({"account": [payment["payer_account"]] * 3}), planted[1])
    finished = instance.run("leaks", "--json", str(sent / "payments.jsonl"), str(sent / "live.jsonl"))
    for path in planted:
        path.unlink()
    assert finished.returncode == 1, finished.stderr
    searched = json.loads(finished.stdout)
    kind = "CPF" if len(payment["payer_tax_id"]) == 11 else "CNPJ"
    assert searched["found"] == {"logs/planted.log": [kind], "lake/planted.parquet": ["ACCOUNT"]}
    assert searched["identifiers"] > 3_000
    assert searched["messages"] > LIVE  # a decision of each, labels and dead letters


def test_a_row_deleted_from_gold_is_found(instance: Instance) -> None:
    """The planted fault: verify must see what is gone, whether it came over Kafka or was asked over HTTP."""
    from deltalake import DeltaTable

    lake = instance.settings().lake
    # Where gold is behind, verify has it made anew, and the planted fault would be gone.
    assert not gold_is_behind(lake)
    over_http = {REST_PAYMENT["end_to_end_id"], NEXT_PAYMENT["end_to_end_id"]}
    over_kafka = set(read_table(lake, "gold/decisions", ["end_to_end_id"])["end_to_end_id"]) - over_http
    gone = {min(over_http), min(over_kafka)}
    DeltaTable(f"{lake}/gold/decisions").delete(" or ".join(f"end_to_end_id = '{identity}'" for identity in gone))
    assert not gold_is_behind(lake)
    code, counts = instance.verify()
    assert (code, counts["lost"]) == (1, 2)
    assert set(counts["examples"]["lost"]) == gone


def test_up_again_changes_nothing(instance: Instance) -> None:
    before = {name: service["pid"] for name, service in instance.services().items()}
    assert instance.run("up").returncode == 0
    assert {name: service["pid"] for name, service in instance.services().items()} == before


def test_a_store_that_is_deleted_under_traffic_is_rebuilt_equal(instance: Instance, sent: Path, tmp_path: Path) -> None:
    """I4: not ready before it is rebuilt, then equal to lake and logs key by key, and nothing was lost."""
    settings, log = instance.settings(), tmp_path / "sent.jsonl"
    compared = instance.run("store", "compare", "--json")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    before = json.loads(compared.stdout)
    now_ms, seconds = epoch_ms(), 10
    days = seconds * 1000 / DAY_MS
    plan = SimulationPlan(seed=3, start_ms=now_ms, days=days, accounts=1_500, payments=100, run=str(now_ms))
    file = sent / "under-traffic.jsonl"
    file.write_bytes(b"\n".join(canonical_json(payment) for payment in simulate(plan).payments) + b"\n")
    words = [COMMAND, "send", str(file), "--via", "kafka", "--rate", "10", "--log", str(log)]
    sender = subprocess.Popen(words, env=instance.environment, cwd=REPOSITORY)
    time.sleep(seconds / 3)
    serving = psutil.Process(instance.services()["serving"]["pid"])
    for process in [*serving.children(recursive=True), serving]:
        process.kill()
    shutil.rmtree(settings.root / "store")

    started = subprocess.Popen([COMMAND, "up"], env=instance.environment, cwd=REPOSITORY, stderr=subprocess.PIPE)
    statuses = _statuses_until_ready(instance)
    assert statuses[-1] == 200
    assert set(statuses[:-1]) <= {0, 503}
    _, told = started.communicate(timeout=120)
    assert started.returncode == 0, told.decode()
    assert sender.wait(timeout=60) == 0
    # Waits until all is scored: while payments come in, the store is ahead of what the logs tell.
    code, counts = instance.verify("--sent", str(log))
    assert (counts["sent"], counts["duplicated"], counts["mismatched"]) == (100, 0, 0)
    assert code == 0, counts
    compared = instance.run("store", "compare", "--json")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    after = json.loads(compared.stdout)
    assert after["generation"] > before["generation"]
    assert after["equal"] == after["keys"] >= before["keys"] > 1_000
    assert instance.post(REST_PAYMENT).json()["end_to_end_id"] == REST_PAYMENT["end_to_end_id"]


def test_the_store_is_rebuilt_and_rolled_back_by_command(instance: Instance) -> None:
    found = json.loads(instance.run("store", "status", "--json").stdout)
    number = found["generation"]
    rebuilt = instance.run("store", "rebuild", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert json.loads(rebuilt.stdout)["generation"] == number + 1
    refused = instance.run("store", "rollback", "99")
    assert refused.returncode == 1
    assert "no retired generation 99" in refused.stderr
    back = instance.run("store", "rollback")
    assert (back.returncode, back.stdout) == (0, f"generation {number} is in use\n"), back.stderr
    compared = instance.run("store", "compare")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert compared.stdout.startswith(f"generation {number}: keys=")


def test_whatever_dies_comes_back_by_itself_and_loses_nothing(
    instance: Instance, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """One kill of each, in the middle of work; a hundred of them are in ``test_everything_dies.py``."""
    instance.wait_for_streams()
    load = Load(instance.settings(), tmp_path / "sent")
    killer = Killer(instance.settings(), load, seed=72, log=tmp_path / "kills.jsonl")
    try:
        for victim in (Broker, ServiceParent, Daemon, CodeServer):
            killer.kill(victim(killer.instance))
    finally:
        load.end()
    record_property("figures", told(killer.kills))
    services = instance.services()
    assert all(service["healthy"] for service in services.values()), services
    # The runs whose processes died are marked failed or cancelled, and nobody waits for them.
    assert sorted(name for name, _ in killer.instance.runs("STARTED", "STARTING", "QUEUED")) == sorted(STREAMS)


def _statuses_until_ready(instance: Instance) -> list[int]:
    """What the service answers to a payment it has decided before; 0 while it does not answer."""
    statuses: list[int] = []
    deadline = time.monotonic() + 120
    while not statuses or statuses[-1] != 200:
        assert time.monotonic() < deadline, set(statuses)
        try:
            statuses.append(instance.post(REST_PAYMENT).status_code)
        except httpx.HTTPError:
            statuses.append(0)
        time.sleep(0.1)
    return statuses
