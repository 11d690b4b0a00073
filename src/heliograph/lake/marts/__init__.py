"""The marts: the normalised layer that questions and reporting tools read, made from events and kept by the loader."""
