"""The records of every topic and table: one definition each, from which Avro and Arrow schemas derive."""
