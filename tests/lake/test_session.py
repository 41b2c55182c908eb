"""What a Spark session's JVM is told about its classes."""

import subprocess

from pix.offline.session import spark_config


def java_options(tmp_path, classes):
    return spark_config(tmp_dir=tmp_path / "spark", classes=classes)["spark.driver.extraJavaOptions"].split()


def test_only_an_archive_that_is_there_is_named(tmp_path):
    archive = tmp_path / "classes.jsa"
    named = f"-XX:SharedArchiveFile={archive}"
    assert named not in java_options(tmp_path, archive)
    archive.touch()
    assert named in java_options(tmp_path, archive)


def test_an_archive_that_does_not_fit_is_left_aside_without_a_word(tmp_path):
    archive = tmp_path / "classes.jsa"
    archive.write_text("of another JVM")
    done = subprocess.run(
        ["java", *java_options(tmp_path, archive), "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all("archive" not in line.lower() for line in done.stdout.splitlines())
