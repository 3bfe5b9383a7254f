"""What was measured: ratios of interleaved medians in one run, written to paper/benchmarks/. Never part of a test."""
