"""What all commands share: arguments, tables, foreign text, interruption."""
