"""Measures each stage of the pipeline alone, with the product's code, and the obvious way to write some of them."""
