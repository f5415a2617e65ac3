"""Advisories, bills of materials and licences of what this project depends on. Not part of the wheel."""
