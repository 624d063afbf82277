-- Corrections that an interrupted command has recorded and not applied.
SELECT {{ columns | join(', ') }}
FROM corrections FINAL
WHERE NOT is_applied
