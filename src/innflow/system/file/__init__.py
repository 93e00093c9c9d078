"""Files: atomic writing, arrays, JSON and YAML from untrusted sources, regular files."""
