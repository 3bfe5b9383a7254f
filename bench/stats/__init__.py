"""From counts to scores, intervals, tests and verdicts; no torch."""
