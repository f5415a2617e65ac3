"""Erases customers: their rows and labels, what would bring them back, and a report of what retention still holds."""
