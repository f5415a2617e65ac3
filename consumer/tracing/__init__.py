"""One span a window, linked to the events in it: a contract that costs nothing, and OpenTelemetry behind a setting."""
