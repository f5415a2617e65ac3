"""Deletes rows that are older than they may be, never so that a record could be processed twice."""
