#!/usr/bin/env bash
# Creates every topic of the pipeline with its partitions and retention, and sets them again on topics that exist.
# Names come from the settings that the services have, so that the two cannot disagree.
set -euo pipefail

: "${MEDALLION_KAFKA_BOOTSTRAP_SERVERS:?}" "${MEDALLION_EXCHANGES:?}" "${MEDALLION_BRONZE_TOPIC:?}"
: "${MEDALLION_DLQ_TOPIC:?}" "${MEDALLION_GAPS_TOPIC:?}" "${MEDALLION_KAFKA_MAX_MESSAGE_BYTES:?}" "${RAW_PARTITIONS:?}" "${BRONZE_PARTITIONS:?}" "${REPLICAS:?}" "${PARTITION_GIB:?}"

readonly HOUR_MS=3600000
readonly LIMIT="$((PARTITION_GIB * 1073741824))"

# topic NAME PARTITIONS RETENTION_HOURS RETENTION_BYTES_PER_PARTITION
topic() {
    local settings=(
        "retention.ms=$(($3 * HOUR_MS))"
        "retention.bytes=$4"
        "max.message.bytes=$MEDALLION_KAFKA_MAX_MESSAGE_BYTES"
        "cleanup.policy=delete"
        "write.caching=false"
    )
    if grep -Fxq -- "$1" <<<"$known"; then
        # Partitions stay as they are: more of them would send a key's next messages elsewhere.
        rpk topic alter-config "$1" "${settings[@]/#/--set=}"
    else
        rpk topic create "$1" --partitions "$2" --replicas "$REPLICAS" "${settings[@]/#/--topic-config=}"
    fi
}

export RPK_BROKERS="$MEDALLION_KAFKA_BOOTSTRAP_SERVERS"

known="$(rpk topic list | awk 'NR > 1 { print $1 }')"
readonly known

rpk cluster config set auto_create_topics_enabled false
rpk cluster config set write_caching_default false

# 48 hours is the replay buffer of ADR-009 (docs/invariants.md); the bytes bound the disk where an exchange outruns it.
IFS=',' read -ra exchanges <<<"$MEDALLION_EXCHANGES"
for exchange in "${exchanges[@]}"; do
    exchange="${exchange//[[:space:]]/}"
    if [[ -n "$exchange" ]]; then
        topic "market.crypto.trades.$exchange.raw" "$RAW_PARTITIONS" 48 "$LIMIT"
    fi
done
topic market.crypto.trades.unlisted.raw 1 48 "$LIMIT"
topic "$MEDALLION_BRONZE_TOPIC" "$BRONZE_PARTITIONS" 48 "$((2 * LIMIT))"
topic "$MEDALLION_DLQ_TOPIC" 1 168 "$LIMIT"
topic "$MEDALLION_GAPS_TOPIC" 1 168 "$LIMIT"
