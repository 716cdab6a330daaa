"""How good a policy is: who plays in which conditions, what came of it, how sure that is."""
