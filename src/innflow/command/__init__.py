"""The commands that pyproject.toml installs, one file each."""
