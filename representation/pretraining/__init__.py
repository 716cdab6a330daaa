"""Training an encoder, from its configuration to its folder."""
