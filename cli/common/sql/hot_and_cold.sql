-- The view of hot and cold rows where there is one (an offload makes it), else that of hot rows. By their columns, as
-- system.tables does not list all that an analyst may read.
SELECT DISTINCT table AS name
FROM system.columns
WHERE database = currentDatabase()
  AND table IN ({view:String}, {view:String} || '_all')
ORDER BY length(name) DESC
LIMIT 1
