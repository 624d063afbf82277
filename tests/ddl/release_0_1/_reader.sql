-- On a cluster: one table over all shards, of the columns that the shards' tables have now.
CREATE OR REPLACE TABLE {{ db }}.{{ table }}{{ on_cluster }} AS {{ local }}.{{ table }}
ENGINE = Distributed('{{ cluster }}', '{{ local }}', '{{ table }}', {{ key }});
