import json
import stat

import pytest

from sentinela.errors import BadUse
from sentinela.runtime.home import Home, prepare, read_layout, read_runtime, write_runtime


def test_a_new_home_is_of_this_layout_and_keeps_its_keys_to_itself(runtime_home: Home) -> None:
    write_runtime(runtime_home, settings={"kafka_port": 9192})
    assert read_layout(runtime_home) == 1
    assert read_runtime(runtime_home)["settings"] == {"kafka_port": 9192}
    assert stat.S_IMODE(runtime_home.secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE((runtime_home.secrets / "api-key").stat().st_mode) == 0o600


def test_the_api_key_survives_every_start(runtime_home: Home) -> None:
    key = (runtime_home.secrets / "api-key").read_text()
    prepare(runtime_home)
    assert len(key) > 30
    assert (runtime_home.secrets / "api-key").read_text() == key


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (json.dumps({"layout_version": 2}), "newer version"),
        (json.dumps({"layout_version": 0}), "has layout 0"),
        (json.dumps({"settings": {}}), "has layout 0"),
        (json.dumps({"layout_version": "1"}), "not a number"),
        ("[]", "not an object"),
        ("{half", "cannot read"),
    ],
)
def test_a_layout_that_cannot_be_used_is_refused_with_a_sentence(
    runtime_home: Home, content: str, sentence: str
) -> None:
    runtime_home.runtime_file.write_text(content)
    with pytest.raises(BadUse, match=sentence):
        prepare(runtime_home)
