"""All that names the framework by hand."""
