"""Sessions: tracked pieces of an agent's work."""
