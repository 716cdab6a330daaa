"""How fast environments and encoders run, on a processor and on a GPU."""
