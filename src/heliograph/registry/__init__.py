"""The registry: accounts, instances and agreements."""
