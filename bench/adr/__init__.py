"""ADR-009 to the letter: its SQL and a row-wise Silver processor, on our own broker and node.

ADR-009 is the decision record from which the project started: docs/invariants.md.
"""
