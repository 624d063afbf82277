"""The pipeline exactly as ADR-009 words it: its SQL and a row-wise Silver processor, on our broker and node.

ADR-009 is the decision record from which the project started: docs/invariants.md.
"""
