"""The resident part: the pure core, the socket host that drives it, and the adapters around both."""
