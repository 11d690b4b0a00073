"""The vendor's gateway: authenticate, check the level, decode, validate, store once, answer with a receipt."""
