-- Move a partition between a hot table and the one where the gate compares it last.
ALTER TABLE {{ source }} MOVE PARTITION ID {partition:String} TO TABLE {{ target }}
