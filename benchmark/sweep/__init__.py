"""Many runs over one protocol: which there are, what is done, workers that do the rest, and the table of all."""
