"""How fast encoders run."""
