"""Small drawn versions of the five datasets, in the archives, names and encodings of the real ones."""
