"""The exact search: the widths that lose least within a latency budget."""
