-- The reasons under which one message is dead, and how many dead letters are open.
SELECT
    (SELECT groupUniqArray(toString(reason)) FROM dlq_trades WHERE exchange = {exchange:String} AND position(payload, {payload:String}) > 0) AS reasons,
    (SELECT count() FROM dlq_trades) AS open
