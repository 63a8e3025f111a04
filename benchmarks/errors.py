"""What the definitions raise where a user's data or numbers cannot be used."""


class DataError(ValueError):
    """Data that cannot be used as they are. The message is one sentence that names the file or key and the remedy."""
