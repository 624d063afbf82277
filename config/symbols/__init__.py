"""Makes and updates the symbols file from the exchanges' lists of markets. May import the rest of `config`."""
