"""From archives as published to batches: acquire, prepare, store, load; and the drawn miniature of the archives."""
