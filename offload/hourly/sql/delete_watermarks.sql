-- Watermarks that the cold table does not have: it was made anew.
DELETE FROM offload_watermarks WHERE table_name = {table:String} AND slice IN {slices:Array(String)}
