-- Add staged rows to a table as a partition. No view sees them.
ALTER TABLE {{ table }} ATTACH PARTITION ID {partition:String} FROM {{ table }}_staged
