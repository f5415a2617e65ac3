"""The contracts as an AsyncAPI 3.0 document, made from the types, the topics file and the header names."""
