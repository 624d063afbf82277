"""Grafana's dashboards as code: `python -m deploy.compose.grafana` writes the files that Grafana is given.

Imports nothing of other folders."""
