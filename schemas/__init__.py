"""The records of every topic and table. Avro and Arrow schemas are made from one definition each.

May import `config`."""
