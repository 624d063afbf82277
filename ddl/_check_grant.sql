-- Whether the connected user has a privilege. No migration.
CHECK GRANT {{ privilege }} ON {{ scope }}
