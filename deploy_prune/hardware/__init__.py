"""What a measurement runs on: hardware profiles (the wish) and the detected machine (the fact)."""
