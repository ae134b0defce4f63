"""The shared floor of the three packages: errors, files, command-line habits, the HDF5 guard.

Imports nothing of ``tsgen`` and nothing heavy, so that ``benchmark`` and ``diving48_domains`` may use it.
"""

VERSION = "0.1.0"
"""Of the whole distribution; pyproject.toml reads it from here."""
