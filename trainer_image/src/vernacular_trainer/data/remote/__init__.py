"""Files of buckets and hubs: found, fetched so that a broken-off download goes on, and explained when refused."""
