"""Implementations of the ports; the only place where foreign libraries are imported."""
