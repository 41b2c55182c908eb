#!/usr/bin/env bash
# Start what is not running, then print where the UIs are and open them where there is a desktop.
set -euo pipefail
cd "$(dirname "$0")/.."

.venv/bin/sentinela up
.venv/bin/sentinela status --json | .venv/bin/python -c '
import json, sys
for service in json.load(sys.stdin)["services"]:
    if service["name"] in ("dagster", "mlflow", "serving"):
        print("{:10} {}".format(service["name"], service["url"]))
' | while read -r name url; do
    printf '%-10s %s\n' "$name" "$url"
    if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && [ "$name" != serving ] && command -v xdg-open >/dev/null; then
        xdg-open "$url" >/dev/null 2>&1 || true
    fi
done
