"""What a cold table is: schema, slices, slice records, catalog and object store.

Of `offload` it may import only `errors`.
"""
