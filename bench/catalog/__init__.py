"""The datasets as data, one module each: a study is checked against them before anything runs.

Nothing here reads a file. Sources of the facts are named beside them; "reported" means read in public code or
documentation and not yet checked against the archives themselves.
"""
