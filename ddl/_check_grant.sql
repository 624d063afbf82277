-- Whether the user who asks has a privilege. No migration.
CHECK GRANT {{ privilege }} ON {{ scope }}
