"""Run by the Python of .venv-spark: rows and the sum of a column of each table, and of a tag of it, as JSON lines.

usage: read_tables.py JARS CATALOG_URI WAREHOUSE TAG TABLE=COLUMN …
"""

import json
import sys

from pyspark.sql import SparkSession

JARS, CATALOG, WAREHOUSE, TAG = sys.argv[1:5]

builder = (
    SparkSession.builder.master("local[1]").appName("medallion").config("spark.driver.extraClassPath", f"{JARS}/*")
)
options = {
    "spark.sql.catalog.medallion": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.medallion.catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
    "spark.sql.catalog.medallion.uri": CATALOG,
    "spark.sql.catalog.medallion.warehouse": WAREHOUSE,
    "spark.sql.defaultCatalog": "medallion",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "1",
    "spark.ui.enabled": "false",
    "spark.driver.memory": "512m",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}
for name, value in options.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
for pair in sys.argv[5:]:
    table, _, column = pair.partition("=")
    for version in ("", f" VERSION AS OF '{TAG}'"):
        rows, total = spark.sql(f"SELECT count(*), CAST(sum({column}) AS STRING) FROM cold.{table}{version}").first()
        sys.stdout.write(json.dumps([table, bool(version), rows, total]) + "\n")
spark.stop()
