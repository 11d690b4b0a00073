"""Consent: who may let what leave, and who decides when they differ."""
