"""In-hand manipulation: turn and shift a held plug by pressing it on the fixture."""
