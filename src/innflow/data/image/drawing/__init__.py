"""Drawn photographs of cats, dogs, beach balls and flowers."""
