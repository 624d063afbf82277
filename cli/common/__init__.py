"""What every command shares: context, printing, lag, SQL files. Imports no command."""
