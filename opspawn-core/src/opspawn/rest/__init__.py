"""The REST transport. Nothing here is imported before the configuration asks for it, `plugin` excepted."""
