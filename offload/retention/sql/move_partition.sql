-- Move a partition between a hot table and the table where the gate compares it a second time.
ALTER TABLE {{ source }} MOVE PARTITION ID {partition:String} TO TABLE {{ target }}
