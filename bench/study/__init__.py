"""A study file read into frozen dataclasses, refused where it says what nobody knows, and its runs enumerated.

`schema` holds the keys, `reading` the strict reader, `runs` the jobs with their folders and digests. This room
needs the standard library and PyYAML alone, so that the workflow parses and dry-runs without torch.
"""
