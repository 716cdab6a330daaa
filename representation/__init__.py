"""Perceiving: data sets, encoders, objectives, training and probes."""
