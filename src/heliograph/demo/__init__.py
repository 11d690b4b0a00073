"""The demonstration: both ends on one machine, on live or historical use."""
