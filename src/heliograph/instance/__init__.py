"""What runs on the customer's instance: recorder, outbox, sources, exporter."""
