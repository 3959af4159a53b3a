"""``segkit compare``: opens runs, groups those of one configuration, and writes what differs."""
