"""Every layer to Iceberg, and back."""
