-- Wait until this replica has what the other replicas of the shard have.
SYSTEM SYNC REPLICA {{ table }}
