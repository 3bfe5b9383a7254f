"""Shared fixtures. Two threads beside a busy neighbour are slower than one; results must not depend on them."""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
