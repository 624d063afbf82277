#!/usr/bin/env bash
# Writes .env: .env.example with a fresh secret for every empty variable. A .env that is there keeps what it says and
# gets the variables that it lacks. `deploy/compose/make-env.sh [FOLDER]`, by default the repository's root.
set -euo pipefail

folder="${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"
umask 077
touch "$folder/.env"

while IFS= read -r line; do
    name="${line%%=*}"
    if [[ "$line" == \#* || -z "$line" ]] || grep -q "^$name=." "$folder/.env"; then
        continue
    fi
    value="${line#*=}"
    # `COMPOSE_PROFILES=simulator make env`: what starts is said once, in the file that `up` and `down` both read.
    [[ "$name" != COMPOSE_PROFILES ]] || value="${COMPOSE_PROFILES:-$value}"
    # Letters and digits only: ClickHouse reads passwords as XML, SeaweedFS as JSON.
    printf '%s=%s\n' "$name" "${value:-$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')}" >>"$folder/.env"
    printf 'added %s\n' "$name"
done <"$folder/.env.example"
