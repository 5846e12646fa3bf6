"""Implementations of the ports that live in memory: for tests, and to show what a port asks for."""
