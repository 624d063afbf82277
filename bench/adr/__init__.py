"""ADR-009 to the letter: its SQL and a row-wise Silver processor, on the broker and the node of our own stack."""
