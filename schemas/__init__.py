"""The contracts: event and result types, labels, headers, topics and tables. Imports nothing else of this project."""
