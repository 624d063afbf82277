"""How Silver by today's rules differs from Silver, for one exchange and day. May import `retention` and below."""
