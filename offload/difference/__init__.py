"""The difference between Silver by today's rules and the present Silver.

May import `retention` and below, and `silver_processor`."""
