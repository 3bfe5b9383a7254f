"""From raw files to arrays that are read without decoding: a module a dataset, shared ideas in their own."""
