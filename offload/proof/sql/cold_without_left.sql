-- Cold rows of a span, without those whose hot partition was dropped and has no rows of the span now.
SELECT *
FROM
(
{{ source }}
)
WHERE {{ period }}({{ event }}, 'UTC') NOT IN ({{ partitions | join(', ') }})
   OR {{ period }}({{ event }}, 'UTC') IN
      (
          SELECT DISTINCT {{ period }}({{ event }}, 'UTC')
          FROM {{ hot }}
          WHERE {{ arrival }} >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
            AND {{ arrival }} < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
      )
