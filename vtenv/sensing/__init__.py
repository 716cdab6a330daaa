"""What cameras and gels measure, without OpenGL."""
