-- Whether two statements are equal apart from their layout. No migration.
SELECT formatQueryOrNull({{ left | literal }}) = formatQueryOrNull({{ right | literal }})
