-- Drop a partition: Iceberg has all its rows, or a re-derivation has left none.
ALTER TABLE {{ table }} DROP PARTITION ID {partition:String}
