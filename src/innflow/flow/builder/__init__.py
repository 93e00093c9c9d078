"""Builders: whole flows as lists of transforms."""
