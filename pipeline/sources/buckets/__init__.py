"""Object stores: credentials, endpoints and retries, the same ones for sources and for results."""
