-- Drop a partition: Iceberg has it row by row, or, re-derived, none of it.
ALTER TABLE {{ table }} DROP PARTITION ID {partition:String}
