"""Model bundles that ship inside the package; `default` is what the consumer runs unless told otherwise."""
