-- On a cluster: a table over all shards, with the columns that the shards' tables have now.
CREATE OR REPLACE TABLE {{ db }}.{{ table }}{{ on_cluster }} AS {{ local }}.{{ table }}
ENGINE = Distributed({{ cluster | literal }}, {{ local | literal }}, {{ table | literal }}, {{ key }});
