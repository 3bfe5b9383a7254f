"""The reproducibility benchmark harness for Channel Shuffling Pre-training (CSP), arXiv 2604.27704.

Rooms, from the top down: `cli` parses; `workflow` starts a whole study; `report` prints what `stats` infers from
counts; `train` and `evaluate` make weights and counts with `models` and `data`; `strategies`, `study`, `catalog`,
`record`, `metrics`, `seeds` and `errors` are the ground floor. Imports point down. `stats`, `report`, `study`,
`record`, `metrics` and `catalog` never import torch.
"""

__version__ = "0.1.0"
