"""A simulated Engine for demos and tests: a second, independent reading of the API's documentation.

Imports nothing of the daemon but its error classes, so that a misreading is not mirrored.
"""
