"""Makes the pages of docs/reference from the code; docs/generate.py runs it."""
