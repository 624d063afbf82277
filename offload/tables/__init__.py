"""What a cold table is: schema, slices, records, catalog and object store. Imports nothing of the offload but
errors."""
