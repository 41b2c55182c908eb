#!/usr/bin/env bash
# Find or install what is missing; does nothing, quickly, when nothing changed since it last succeeded.
# What it cannot install it names in one line, with the command to type.
set -euo pipefail
cd "$(dirname "$0")/.."

STAMP=.venv/.setup-stamp
KERNEL_STAMP=.venv/.kernel-stamp
TOOLS=.venv/tools

say() { printf 'setup: %s\n' "$*" >&2; }
give_up() { say "$*"; exit 1; }

# Two makes at once must not write the same folders.
mkdir -p .venv
exec 9>.venv/.setup-lock
flock -n 9 || { say "another setup is running; waiting for it"; flock 9; }

fingerprint() {
    { pwd; cat requirements.lock pom.xml pyproject.toml scripts/setup.sh; } | sha256sum
}

unchanged() {
    [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ] &&
        [ -x .venv/bin/sentinela ] && [ -x .venv/bin/pytest ] && .venv/bin/python -c '' 2>/dev/null &&
        compgen -G '.jars/kafka/kafka_2.13-*.jar' >/dev/null &&
        compgen -G '.jars/spark/delta-spark_*.jar' >/dev/null &&
        [ -f .jars/spark-classes.jsa ] &&
        java_is_right
}

java_is_right() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
    [ -n "$version" ] && [ "$version" -ge 17 ]
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null && fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

updated=
apt_update() {
    as=()
    [ "$(id -u)" = 0 ] || as=(sudo -n)
    if ! command -v apt-get >/dev/null || { [ ${#as[@]} -gt 0 ] && ! sudo -n true 2>/dev/null; }; then
        return 1
    fi
    say "installing $*"
    [ -n "$updated" ] || "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || return 1
    updated=yes
}

apt_install() {
    apt_update "$@" || return 1
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need_python() {
    PYTHON=$(find_python) || {
        apt_install python3 python3-venv && PYTHON=$(find_python)
    } || give_up "Python 3.11 to 3.13 is missing; type: sudo apt-get update && sudo apt-get install -y python3 python3-venv"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv ||
        give_up "Python's venv module is missing; type: sudo apt-get update && sudo apt-get install -y python3-venv"
}

need_java() {
    java_is_right && return
    { apt_install openjdk-17-jdk-headless || apt_install default-jdk-headless; } && java_is_right ||
        give_up "JDK 17 or newer is missing; type: sudo apt-get update && sudo apt-get install -y openjdk-17-jdk-headless"
}

need_maven() {
    command -v mvn >/dev/null && return
    apt_install maven && command -v mvn >/dev/null ||
        give_up "Maven is missing; type: sudo apt-get update && sudo apt-get install -y maven"
}

# Only the tests of the alert rules need it. Unpacked, because Debian's package would start a server.
need_promtool() {
    { command -v promtool >/dev/null || [ -x .venv/bin/promtool ]; } && return
    local folder=.venv/.promtool
    rm -rf "$folder" && mkdir "$folder"
    apt_update promtool && (
        cd "$folder" && apt-get download -qq prometheus >/dev/null 2>&1 &&
            dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
    ) && mv "$folder/usr/bin/promtool" .venv/bin/promtool ||
        say "promtool is missing, and tests/monitoring needs it; type: sudo apt-get install -y prometheus"
    rm -rf "$folder"
}

make_venv() {
    if [ ! -x .venv/bin/python ] || ! fits .venv/bin/python; then
        say "creating .venv with $PYTHON"
        # Not --clear: the lock of this script lives in there.
        rm -rf .venv/bin .venv/lib .venv/lib64 .venv/pyvenv.cfg "$TOOLS"
        "$PYTHON" -m venv --without-pip .venv
    fi
}

# uv has a virtual environment of its own: a sync of .venv removes what the lock file does not name,
# and pip may refuse to install beside the system's packages.
need_uv() {
    if command -v uv >/dev/null && uv --version >/dev/null 2>&1; then
        UV=$(command -v uv)
        return
    fi
    UV=$PWD/$TOOLS/bin/uv
    [ -x "$UV" ] && "$UV" --version >/dev/null 2>&1 && return
    say "installing uv"
    "$PYTHON" -m venv --clear "$TOOLS"
    "$TOOLS/bin/pip" install -q --disable-pip-version-check uv ||
        give_up "uv could not be installed; type: $TOOLS/bin/pip install uv"
}

python_packages() {
    say "installing Python packages"
    # The system's certificates, as pip and apt use them: some networks bring their own.
    export VIRTUAL_ENV="$PWD/.venv" UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
    "$UV" pip sync -q --require-hashes requirements.lock
    "$UV" pip install -q --no-deps -e .
}

# Whenever its sources changed: a service must not compile while it starts.
kernel() {
    local sources
    sources=$(cat pix/engines/*.py pix/features/*.py pix/offline/{chunks,packing}.py learning/trees.py | sha256sum)
    [ -f "$KERNEL_STAMP" ] && [ "$(cat "$KERNEL_STAMP")" = "$sources" ] && return
    say "compiling the kernel"
    .venv/bin/python -c 'import learning.trees, pix.engines.compiled, pix.offline.chunks, pix.offline.packing'
    printf '%s\n' "$sources" >"$KERNEL_STAMP"
}

# A folder is replaced as a whole: a half-filled one would look finished.
jars() {
    local profile=$1
    say "fetching the jars of $profile"
    rm -rf ".jars/.$profile"
    mvn -q -B -P "$profile" dependency:copy-dependencies \
        -DoutputDirectory="$PWD/.jars/.$profile" -DincludeScope=runtime >.jars/mvn.log 2>&1 || {
        tail -n 15 .jars/mvn.log >&2
        give_up "Maven could not fetch the jars of $profile; the lines above are from .jars/mvn.log"
    }
    rm -rf ".jars/$profile"
    mv ".jars/.$profile" ".jars/$profile"
}

if unchanged; then
    kernel
    exit 0
fi
rm -f "$STAMP" "$KERNEL_STAMP"
need_python
need_java
need_maven
make_venv
need_uv
python_packages
need_promtool
kernel
mkdir -p .jars
jars spark
jars kafka
say "keeping Spark's classes for a faster start"
.venv/bin/python -W ignore -m pix.offline.class_archive 2>.jars/classes.log || {
    tail -n 15 .jars/classes.log >&2
    give_up "Spark did not start; the lines above are from .jars/classes.log"
}
fingerprint >"$STAMP"
say "done"
