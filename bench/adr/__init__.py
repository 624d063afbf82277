"""ADR-009 to the letter: its SQL and a row-wise Silver processor, on the broker and the node of our own stack.

ADR-009 is the decision record that the project started from: docs/invariants.md.
"""
