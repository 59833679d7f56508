"""Refiners r: how a mini-batch changes a query's state. One final class per file."""
