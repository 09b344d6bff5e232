#!/usr/bin/env bash
# Throws generated requests at a fresh hub on loopback, as its own /openapi.json describes them, and holds every answer
# against it: no server error, no status, type or body outside the document.
#
#   tests/schemathesis.sh [cases per operation, 25]
#
# Installs schemathesis from PyPI into a virtual environment below target/. What it finds, it prints as curl commands.
set -euo pipefail
cd "$(dirname "$0")/.."

cases=${1:-25}
venv=${TIMEBACK_SCHEMATHESIS_VENV:-target/schemathesis}
version=4.32.5

if ! "$venv/bin/schemathesis" --version >/dev/null 2>&1; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "schemathesis==$version"
fi
cargo build --quiet

data=$(mktemp -d)
hub=
finish() {
    if [ -n "$hub" ]; then kill "$hub" 2>/dev/null && wait "$hub" || true; fi
    rm -rf "$data"
}
trap finish EXIT

env -i PATH="$PATH" INTEGRATION_SSE_PORT=0 INTEGRATION_DATA_DIR="$data" INTEGRATION_MAX_REQUESTS_PER_ADDRESS=0 \
    LOG_LEVEL=error target/debug/timeback-events >"$data/out" &
hub=$!
for _ in $(seq 100); do
    grep -q 'listening on' "$data/out" && break
    sleep 0.1
done
url=$(sed -n 's/^listening on //p' "$data/out")

# The stream has no end, so that a generated request for it would never be answered in whole.
"$venv/bin/schemathesis" run "$url/openapi.json" \
    --exclude-operation-id stream \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance \
    --phases examples,coverage,fuzzing \
    --max-examples "$cases" \
    --request-timeout 70 \
    --no-shrink \
    --seed "${TIMEBACK_SCHEMATHESIS_SEED:-1}"

curl --fail --silent "$url/readyz" >/dev/null
