{#- Which views of hot and cold raw messages this user may read: of the present, and of a pin. By their columns, as
    system.tables does not list all that an analyst may read. -#}
SELECT DISTINCT if(database = currentDatabase(), 'here', 'pin') AS place, table AS name
FROM system.columns
WHERE (database = currentDatabase() AND table = 'trades_raw_all')
   OR (database = {pin_database:String} AND table = 'raw_trades')
