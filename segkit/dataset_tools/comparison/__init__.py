"""``segkit compare``: opens and groups runs, and writes what differs."""
