"""From weights to counts: prediction, confusion matrices, top-1 flags."""
