-- The symbols file behind a rules version.
SELECT document FROM rules_versions WHERE rules_version = {version:String} LIMIT 1
