"""Names in SQL that reach outside the database, and names that do not. The policy decides by them."""

from __future__ import annotations

# Engines that keep their rows in the store. Every other engine is refused, as most of them read other sources.
ENGINES = frozenset(
    {
        *(f"{kind}MergeTree" for kind in ("", "Replacing", "Summing", "Aggregating", "Coalescing")),
        *(f"{kind}CollapsingMergeTree" for kind in ("", "Versioned")),
        *("Null", "Memory", "Log", "TinyLog", "StripeLog", "Set", "Join", "Buffer", "Merge", "GenerateRandom"),
        *("View", "MaterializedView", "Atomic"),
    }
)
# Engines whose threads do not run inside chDB. CREATE fails and leaves metadata with which the store does not open.
BROKER_ENGINES = frozenset({"KAFKA", "RABBITMQ", "NATS", "FILELOG", "S3QUEUE", "AZUREQUEUE"})

ICEBERG_OF_A_FOLDER = frozenset({"icebergLocal"})
ICEBERG_OF_A_BUCKET = frozenset({"icebergS3", "iceberg"})

# Table functions that generate rows or read the database itself. A test compares this list with the engine's.
INSIDE = frozenset(
    {
        *("SQLStandardValues", "values", "view", "viewExplain", "viewIfPermitted", "null", "input", "format", "merge"),
        *(
            "numbers",
            "numbers_mt",
            "zeros",
            "zeros_mt",
            "primes",
            "generateRandom",
            "generateSeries",
            "generate_series",
        ),
        *("dictionary", "loop", "fuzzJSON", "fuzzQuery"),
        *("mergeTreeAnalyzeIndexes", "mergeTreeAnalyzeIndexesUUID", "mergeTreeCodecBlockCounts", "mergeTreeIndex"),
        *("mergeTreeProjection", "mergeTreeTextIndex", "prometheusQuery", "prometheusQueryRange"),
        *("timeSeriesData", "timeSeriesMetricFamilies", "timeSeriesMetrics", "timeSeriesSamples"),
        *("timeSeriesSelector", "timeSeriesTags"),
    }
)
# All other table functions, and scalar functions and clauses of the same kind. Function names are case-sensitive.
OUTSIDE = frozenset(
    {
        *("file", "fileCluster", "filesystem", "executable", "python", "Python", "eval", "disk", "arrowstream"),
        *("url", "urlCluster", "remote", "remoteSecure", "cluster", "clusterAllReplicas"),
        *("mysql", "postgresql", "sqlite", "mongodb", "redis", "odbc", "jdbc", "bigquery", "ytsaurus", "arrowFlight"),
        *("s3", "s3Cluster", "gcs", "oss", "cosn", "hdfs", "hdfsCluster"),
        *("azureBlobStorage", "azureBlobStorageCluster", "hudi", "hudiCluster"),
        *(f"deltaLake{kind}" for kind in ("", "Azure", "AzureCluster", "Cluster", "Local", "S3", "S3Cluster")),
        *(f"iceberg{kind}" for kind in ("", "Azure", "AzureCluster", "Cluster", "HDFS", "HDFSCluster")),
        *(f"iceberg{kind}" for kind in ("Local", "LocalCluster", "S3", "S3Cluster")),
        *(f"paimon{kind}" for kind in ("", "Azure", "AzureCluster", "Cluster", "HDFS", "HDFSCluster")),
        *(f"paimon{kind}" for kind in ("Local", "LocalCluster", "S3", "S3Cluster")),
        *("catboostEvaluate", "hive", "nats", "kafka"),
    }
)

# The system tables that an analyst's tools read. Others show other users' queries, paths and memory.
SYSTEM_TABLES_OF_ANALYSTS = frozenset(
    {
        *("one", "numbers", "zeros", "databases", "tables", "columns", "settings", "functions", "formats", "keywords"),
        *("data_type_families", "time_zones", "table_engines", "table_functions", "collations"),
        *("aggregate_function_combinators", "data_skipping_indices", "build_options", "contributors"),
    }
)
