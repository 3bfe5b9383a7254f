"""Does a results folder, ours or a third party's, keep the contract? A list of checks, each with its own words."""
