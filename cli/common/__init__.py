"""Shared by all commands: settings, printing, lag, SQL files. Imports no command."""
