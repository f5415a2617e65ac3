"""Package data of the demonstration: real messages, and in ATTRIBUTION.md who wrote and published them."""
