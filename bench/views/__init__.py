"""How long the analyst's views take."""
