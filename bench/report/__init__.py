"""From finished numbers to tables, figures and the report; no torch."""
