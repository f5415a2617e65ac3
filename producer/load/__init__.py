"""An open-loop load generator: events at fixed times, whatever the system does, and how long each took to come back."""
