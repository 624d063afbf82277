-- Delete watermarks that the cold table no longer has, because it was created again.
DELETE FROM offload_watermarks WHERE table_name = {table:String} AND slice IN {slices:Array(String)}
