"""Pictures for people: the render modes, and how the scene is dressed."""
