-- Move a whole partition between a hot table and the one where the gate looks at it last.
ALTER TABLE {{ source }} MOVE PARTITION ID {partition:String} TO TABLE {{ target }}
