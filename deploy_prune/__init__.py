"""deploy_prune: make a neural network meet a latency budget on real hardware by physically removing channels."""
