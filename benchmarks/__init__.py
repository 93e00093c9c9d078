"""Speed and memory of innflow, nflows, normflows, FrEIA and zuko: `python -m benchmarks`."""
