"""Adapters g: how a mini-batch changes a task's state. One final class per update rule."""
