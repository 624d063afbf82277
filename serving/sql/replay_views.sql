{#- Which views of hot and cold raw messages this user may read: of the present, and of a pin. -#}
SELECT if(database = currentDatabase(), 'here', 'pin') AS place, name
FROM system.tables
WHERE (database = currentDatabase() AND name = 'trades_raw_all')
   OR (database = {pin_database:String} AND name = 'raw_trades')
