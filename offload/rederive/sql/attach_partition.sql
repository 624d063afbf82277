-- Add staged rows to a partition; no view sees them as new.
ALTER TABLE {{ table }} ATTACH PARTITION ID {partition:String} FROM {{ table }}_staged
