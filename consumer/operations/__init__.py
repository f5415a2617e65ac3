"""What operators do to the stream from outside: dead letters, reconciliation. `consumer.__main__` gives them names."""
