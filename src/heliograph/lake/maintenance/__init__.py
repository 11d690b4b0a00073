"""What keeps a lake small and quick: compaction, expiry, removal of orphans, retention. docs/lake.md says when."""
