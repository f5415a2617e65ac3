"""Bundles into shared storage, and announcements of them to running consumers."""
