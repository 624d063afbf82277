-- Let the views read a partition from Iceberg from this row on. A repeated insert changes nothing.
INSERT INTO left_partitions (table_name, partition_id, confirmed_until)
SELECT {table:String}, toUInt32({partition:String}), fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
SETTINGS deduplicate_insert_select = 'disable'
