"""What today's rules would make of a day, against what it is. May import `retention` and below."""
