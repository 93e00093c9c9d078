"""Speed and memory beside nflows, normflows, FrEIA and zuko: `python -m benchmarks`."""
