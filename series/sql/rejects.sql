SELECT reason, count() AS dead_letters
FROM series_dead_letters FINAL
WHERE series = {series:String} AND answer_id IN {ids:Array(String)}
GROUP BY reason
ORDER BY reason
