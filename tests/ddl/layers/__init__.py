"""Raw, Bronze and Gold: the tables and the views between them."""
