{#- The raw messages of a window as lines of NDJSON. The exchange's own text goes out as it is where it is one line of JSON,
    else as a JSON string; bytes that are no text as base64, which `encoding` says. What is no envelope of ours goes out
    whole. A message that Kafka delivered twice comes once. `first`, `last` (µs) say which rows to look at. -#}
{% import '_raw.sql' as raw %}
SELECT
    concat('{"localTimestamp":"', formatDateTime(received_at, '%Y-%m-%dT%H:%i:%S.%f'), '0Z","message":', message, '}') AS line
FROM
(
    SELECT
        received_at,
        published_at,
        {{ place }},
        JSONType(raw_json, 'payload') = 'String' AS is_envelope,
        if(is_envelope, JSONExtractString(raw_json, 'payload'), raw_json) AS text,
        multiIf(
            NOT isValidUTF8(raw_json),
            concat(toJSONString(base64Encode(raw_json)), ',"encoding":"base64"'),
            is_envelope AND JSONExtractString(raw_json, 'payload_encoding') = 'base64',
            concat(toJSONString(text), ',"encoding":"base64"'),
            isValidJSON(text) AND NOT match(text, '[\\r\\n]'),
            text,
            toJSONString(text)
        ) AS message
    FROM {{ source }}
    WHERE {{ raw.is_in_window() }}
      AND ingested_at >= fromUnixTimestamp64Micro({first:Int64}, 'UTC')
      AND ingested_at <= fromUnixTimestamp64Micro({last:Int64}, 'UTC')
)
ORDER BY received_at, {{ place }}
LIMIT 1 BY {{ place }}, published_at
SETTINGS output_format_json_escape_forward_slashes = 0
