"""The tracking plan: what may be recorded at all."""
