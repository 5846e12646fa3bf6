"""The embedded profile: everything that a sidecar would give, in one process."""
