"""The tracking plan: loading it, checking it, reading it; see docs/plan.md."""
