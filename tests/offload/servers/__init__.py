"""Servers that the offload's tests start: S3, a REST catalog, a proxy that fails."""
