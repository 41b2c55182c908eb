"""Keys as they are kept and as the service sees them change."""

import json
import stat
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.callers import SCOPES
from serving.door import Door, Holder, KeyWatch
from serving.keys import BadKeyFile, KeyFile, NoKeys, UnknownKey

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Hand:
    """A clock by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return round(self.now.timestamp() * 1000)


def holder(door: Door, key: str) -> Holder | None:
    return door.holder([(b"host", b"x"), (b"authorization", b"Bearer " + key.encode())])


def test_only_a_hash_is_kept_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "secrets")
    made, key = keys.create("acme", ["decide"], NOW)
    kept = keys.path.read_text()
    assert key not in kept
    assert made.key_hash in kept
    assert len(key) > 43
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.path.parent.stat().st_mode) == 0o700
    # The same key in another home has another hash: nobody can tell from two files that they hold one key.
    other = KeyFile(tmp_path / "other", random_text=lambda _: key.removeprefix("sentinela_"))
    again, same = other.create("acme", ["decide"], NOW)
    assert (same, again.key_hash != made.key_hash) == (key, True)


def test_a_running_service_takes_every_change_over(tmp_path: Path) -> None:
    keys, clock = KeyFile(tmp_path), Hand()
    first, key = keys.create("acme", ["decide", "read"], NOW, days=10)
    watch = KeyWatch(tmp_path, clock)
    found = holder(watch.door, key)
    assert found is not None
    assert (found.caller.name, found.caller.scopes) == ("acme", {"decide", "read"})

    second, fresh = keys.rotate(first.id, NOW, HOUR)
    assert holder(watch.door, fresh) is None
    watch.look()
    assert holder(watch.door, fresh) is not None
    assert second.expires_at == NOW + timedelta(days=10)
    clock.now = NOW + HOUR - timedelta(milliseconds=1)
    assert holder(watch.door, key) is not None
    clock.now = NOW + HOUR
    assert holder(watch.door, key) is None
    assert holder(watch.door, fresh) is not None

    keys.revoke(second.id, clock.now)
    watch.look()
    assert holder(watch.door, fresh) is None
    with pytest.raises(UnknownKey, match="revoked"):
        keys.rotate(second.id, clock.now, HOUR)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"hash_key":"00","keys":[]}', None])
def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path, content: str | None) -> None:
    keys = KeyFile(tmp_path)
    _, key = keys.create("acme", ["decide"], NOW)
    watch, whole = KeyWatch(tmp_path, Hand()), keys.path.read_text()
    if content is None:
        keys.path.unlink()
    else:
        keys.path.write_text(content)
    watch.look()
    assert holder(watch.door, key) is not None
    with pytest.raises((BadKeyFile, NoKeys), match=r"keys\.json"):
        KeyWatch(tmp_path, Hand())
    if content is not None:
        with pytest.raises(BadKeyFile):
            keys.create("other", ["decide"], NOW)
        assert keys.path.read_text() == content
    keys.path.write_text(whole.replace('"acme"', '"changed"'))
    watch.look()
    found = holder(watch.door, key)
    assert found is not None
    assert found.caller.name == "changed"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"scopes": ["decide", "everything"]}, "scopes.*must be one of"),
        ({"scopes": []}, "scopes"),
        ({"owner": "Ácme"}, "owner"),
        ({"owner": ""}, "owner"),
        ({"tenants": ["UPPER"]}, "tenants"),
        ({"tenants": []}, "tenants"),
        ({"burst": 0}, "burst"),
        ({"rate_per_minute": 0}, "rate_per_minute"),
    ],
)
def test_what_a_key_cannot_be_is_named(tmp_path: Path, fields: dict[str, object], told: str) -> None:
    with pytest.raises(BadKeyFile, match=told):
        KeyFile(tmp_path).create(**{"owner": "acme", "scopes": ["decide"], "now": NOW, **fields})  # type: ignore[arg-type]
    assert not (tmp_path / "keys.json").exists()


def test_the_local_key_is_made_once_and_may_everything(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    for _ in range(2):
        keys.ensure_local(NOW)
    (kept,) = keys.load().keys
    key = (tmp_path / "api-key").read_text()
    assert stat.S_IMODE((tmp_path / "api-key").stat().st_mode) == 0o600
    assert (kept.id, set(kept.scopes), kept.tenants, kept.expires_at, kept.burst) == (
        "local", set(SCOPES), ("*",), None, None,
    )  # fmt: skip
    found = holder(KeyWatch(tmp_path, Hand()).door, key)
    assert found is not None
    assert found.caller.acts_for("whatever")


def test_a_home_from_before_keeps_its_key_and_a_revoked_one_stays_revoked(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("from before\n")
    keys = KeyFile(tmp_path)
    keys.ensure_local(NOW)
    assert holder(KeyWatch(tmp_path, Hand()).door, "from before") is not None
    keys.revoke("local", NOW)
    keys.ensure_local(NOW)
    assert len(keys.load().keys) == 1
    assert holder(KeyWatch(tmp_path, Hand()).door, "from before") is None


def test_a_rotated_local_key_reaches_the_file_that_local_processes_read(tmp_path: Path) -> None:
    keys, clock = KeyFile(tmp_path), Hand()
    keys.ensure_local(NOW)
    old = (tmp_path / "api-key").read_text()
    _, key = keys.rotate("local", NOW, HOUR)
    assert (tmp_path / "api-key").read_text() == key != old
    keys.ensure_local(NOW)
    clock.now = NOW + HOUR
    door = KeyWatch(tmp_path, clock).door
    assert (holder(door, old), holder(door, key) is None) == (None, False)


def made_by_another_process(folder: Path, number: int) -> None:
    KeyFile(folder).create(f"client{number}", ["decide"], NOW)


def test_keys_made_at_once_are_all_kept(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as processes:
        list(processes.map(made_by_another_process, [tmp_path] * 8, range(8)))
    assert {each.owner for each in KeyFile(tmp_path).load().keys} == {f"client{number}" for number in range(8)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.json", "keys.json.lock"]


def test_the_commands_make_show_renew_and_end_keys(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from sentinela.cli import build

    def typed(*words: str) -> tuple[int, str]:
        done = CliRunner(env={"SENTINELA_HOME": str(tmp_path)}).invoke(build(), ["key", *words])
        return done.exit_code, done.stdout

    assert typed("list")[0] != 0
    assert not (tmp_path / "secrets").exists()
    code, told = typed("create", "--owner", "acme", "--scope", "decide", "--scope", "read", "--days", "1", "--json")
    made = json.loads(told)
    assert (code, made["state"], made["scopes"], made["tenants"]) == (0, "active", ["decide", "read"], ["default"])
    code, renewed = typed("rotate", made["id"], "--grace", "2")
    listed = json.loads(typed("list", "--json")[1])["keys"]
    assert [each["owner"] for each in listed] == ["acme", "acme"]
    assert made["key"] not in json.dumps(listed)
    assert "hash" not in json.dumps(listed)
    door = KeyWatch(tmp_path / "secrets", lambda: round(datetime.now(UTC).timestamp() * 1000)).door
    assert all(holder(door, key) for key in (made["key"], renewed.splitlines()[0]))
    assert typed("revoke", made["id"])[0] == 0
    assert "revoked" in typed("list")[1]
    assert [path.name for path in tmp_path.iterdir()] == ["secrets"]
