"""An ablation's results as one page: read a study, sum it up, draw it, write it."""
