"""A run, fully described: schema, defaults, validation, diagnostics, and the files that users write."""
