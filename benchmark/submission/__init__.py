"""CONTRACT 3: a submission, a directory of data only, from writing to scoring. No torch but in ``from_model``."""
