"""Running models where they will live: worker processes, timings, comparisons, profiles per node."""
