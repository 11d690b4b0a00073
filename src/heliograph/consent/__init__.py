"""Who allowed what: levels, agreements, and the resolution that both ends use; see docs/consent.md."""
