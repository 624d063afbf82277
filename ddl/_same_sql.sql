-- Whether two statements differ in nothing but layout. No migration.
SELECT formatQueryOrNull({{ left | literal }}) = formatQueryOrNull({{ right | literal }})
