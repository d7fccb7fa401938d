"""Documents are tests: what the pages show is run, and what they say of the code is held against it."""
