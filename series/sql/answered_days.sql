WITH
    toDate({start:DateTime64(6, 'UTC')}) AS first_asked,
    toDate({end:DateTime64(6, 'UTC')}) AS last_asked
SELECT DISTINCT arrayJoin(arrayMap(step -> addDays(first_day, step), range(1, days))) AS day
FROM
(
    SELECT
        toDate(min({time:Identifier})) AS first_day,
        toUInt32(greatest(1, dateDiff('day', first_day, toDate(max({time:Identifier}))))) AS days
    FROM {snapshots:Identifier}
    WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND {frame_column:Identifier} = {frame:String}
    GROUP BY answer_id
)
WHERE day BETWEEN first_asked AND last_asked
