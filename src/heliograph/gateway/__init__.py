"""The vendor's door: what instances deliver is checked, stored and acknowledged."""
