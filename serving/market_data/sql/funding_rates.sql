{#- Funding rates settled in [from, until] (ms), of one market or (symbol '') of all of an exchange, `direction` from the
    first or from the last. mark_price NULL: the venue does not say. -#}
SELECT
    funding.symbol AS symbol,
    toUnixTimestamp64Milli(funding.funding_time) AS time,
    toString(funding.rate) AS rate,
    toString(funding.mark_price) AS mark_price
FROM funding_rates_exact AS funding
WHERE funding.exchange = {exchange:String}
  AND ({symbol:String} = '' OR funding.symbol = {symbol:String})
  AND funding.funding_time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
  AND funding.funding_time <= fromUnixTimestamp64Milli({until:Int64}, 'UTC')
ORDER BY funding.funding_time {{ direction }}, funding.symbol {{ direction }}
LIMIT {limit:UInt32}
