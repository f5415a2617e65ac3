"""The stream processor: feedback events in, classified records out, exactly once."""
