-- Drop a partition that Iceberg has, row by row.
ALTER TABLE {{ table }} DROP PARTITION ID {partition:String}
