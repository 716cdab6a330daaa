"""What encoders are trained for: one objective a file, and their weighted sum."""
