"""The benchmarks of amortix, one file per part; asv finds classes and functions by the prefixes of their names."""
