-- Publish a staged partition: readers see all of the old or all of the new one.
ALTER TABLE {{ table }} REPLACE PARTITION ID {partition:String} FROM {{ table }}_staged
