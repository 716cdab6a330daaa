"""Training policies: a run from its configuration to its folder, with checkpoints and ratings."""
