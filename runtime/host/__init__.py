"""The socket host: makes the world agree with the records."""
