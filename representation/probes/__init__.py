"""What does an encoder know? One measure a file; `audit` takes them all."""
