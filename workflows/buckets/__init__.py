"""Results in buckets of object stores: runs into a URL, and what is made of a result that lies at one."""
