"""A study's light record for others: copied without weights and data, regenerated without torch."""
