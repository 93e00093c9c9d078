"""The folder that `innflow-new` copies, without this file."""
