-- cold.<series>_landing: the answers that came in a window. Empty fields are left out of `rows`, so a field that is
-- declared later changes no row.
SELECT
    toValidUTF8(t.answer_id) AS answer_id,
    toValidUTF8(toString(t.provider)) AS provider,
    toValidUTF8(t.request) AS request,
    toDateTime64(t.received_at, 6, 'UTC') AS received_at,
    t.body AS body,
    toValidUTF8(toString(t.defect)) AS defect,
    toValidUTF8(toJSONString(arrayMap(
        row -> mapFilter((name, text) -> text != '', CAST(tupleToNameValuePairs(row), 'Map(String, String)')),
        t.rows))) AS `rows`
FROM {{ hot }} AS t
WHERE t.received_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND t.received_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
{% if partition %}
  AND t.provider = {key:String}
ORDER BY t.received_at, t.answer_id
{% endif %}
