"""What runs on the customer's instance: recording, the outbox, sources, and the agent that sends."""
