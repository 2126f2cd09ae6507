"""Tasks: what a network is for, which data it learns from, how it is trained, judged, saved and exported."""
