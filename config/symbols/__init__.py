"""The lists of markets that exchanges publish, and the symbols file that is made of them. Imports `config.registry`."""
