"""Experiments that print what they measured, one module each: ``python -m amortix.experiments NAME``."""
