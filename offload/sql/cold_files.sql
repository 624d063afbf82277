-- The files of one slice as the current snapshot of the cold table names them; a server that lacks one of them fails.
SELECT *
FROM {{ function }}({{ arguments }})
