"""Importing files of feedback: reading them line by line, and resuming where the last acknowledgement stands."""
