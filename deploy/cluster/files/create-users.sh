#!/usr/bin/env bash
# Creates the broker's users with the passwords of .env, sets them again on users that exist, and grants each what it
# needs and no more. The superuser, who runs this, came with the broker's first start (RP_BOOTSTRAP_USER).
set -euo pipefail

: "${MEDALLION_KAFKA_BOOTSTRAP_SERVERS:?}" "${MEDALLION_EXCHANGES:?}" "${MEDALLION_BRONZE_TOPIC:?}"
: "${MEDALLION_DLQ_TOPIC:?}" "${MEDALLION_GAPS_TOPIC:?}" "${MEDALLION_RAW_CONSUMER_GROUP:?}"
: "${MEDALLION_DLQ_CONSUMER_GROUP:?}" "${MEDALLION_GAPS_CONSUMER_GROUP:?}" "${MEDALLION_SILVER_CONSUMER_GROUP:?}"
: "${KAFKA_PRODUCER_PASSWORD:?}" "${KAFKA_CLICKHOUSE_PASSWORD:?}" "${KAFKA_SILVER_PASSWORD:?}"
: "${KAFKA_OPERATOR_PASSWORD:?}" "${KAFKA_CONSOLE_PASSWORD:?}"

readonly MECHANISM=SCRAM-SHA-256

# user NAME PASSWORD
user() {
    if grep -Fxq -- "$1" <<<"$known"; then
        rpk security user update "$1" --new-password "$2" --mechanism "$MECHANISM"
    else
        rpk security user create "$1" --password "$2" --mechanism "$MECHANISM"
    fi
}

# grant NAME OPERATIONS RESOURCE…
grant() {
    local name="$1" operations="$2"
    shift 2
    rpk security acl create --allow-principal "User:$name" --operation "$operations" "$@"
}

export RPK_BROKERS="$MEDALLION_KAFKA_BOOTSTRAP_SERVERS"

known="$(rpk security user list | awk '{ print $1 }')"
readonly known

raw=market.crypto.trades.unlisted.raw
IFS=',' read -ra exchanges <<<"$MEDALLION_EXCHANGES"
for exchange in "${exchanges[@]}"; do
    exchange="${exchange//[[:space:]]/}"
    if [[ -n "$exchange" ]]; then
        raw+=",market.crypto.trades.$exchange.raw"
    fi
done
readonly raw

# Exchanges in.
user producer "$KAFKA_PRODUCER_PASSWORD"
grant producer write,describe --topic "$raw,$MEDALLION_GAPS_TOPIC"
grant producer idempotent-write --cluster

# The Kafka engine: raw, dead letters and gaps in; Bronze out.
user clickhouse "$KAFKA_CLICKHOUSE_PASSWORD"
grant clickhouse read,describe --topic "$raw,$MEDALLION_DLQ_TOPIC,$MEDALLION_GAPS_TOPIC"
grant clickhouse read --group "$MEDALLION_RAW_CONSUMER_GROUP,$MEDALLION_DLQ_CONSUMER_GROUP,$MEDALLION_GAPS_CONSUMER_GROUP"
grant clickhouse write,describe --topic "$MEDALLION_BRONZE_TOPIC"
grant clickhouse idempotent-write --cluster

# Bronze in, dead letters out.
user silver "$KAFKA_SILVER_PASSWORD"
grant silver read,describe --topic "$MEDALLION_BRONZE_TOPIC"
grant silver read --group "$MEDALLION_SILVER_CONSUMER_GROUP"
grant silver write,describe --topic "$MEDALLION_DLQ_TOPIC"
grant silver idempotent-write --cluster

# Who looks: the console, which asks nobody for a login and so may change nothing; and the command line.
# look NAME
look() {
    grant "$1" read,describe,describe-configs --topic market.crypto. --resource-pattern-type prefixed
    grant "$1" describe --group '*'
    grant "$1" describe,describe-configs --cluster
}

user console "$KAFKA_CONSOLE_PASSWORD"
look console

# An operator publishes what a producer does (`replay`, `backfill`, `smoke`), and the dead letters of `rederive` and
# `dlq accept`. Bronze is ClickHouse's: `dlq replay` goes by its sink. No offsets are committed, no topic is changed.
user operator "$KAFKA_OPERATOR_PASSWORD"
look operator
grant operator write --topic "$raw,$MEDALLION_GAPS_TOPIC,$MEDALLION_DLQ_TOPIC"
grant operator idempotent-write --cluster
