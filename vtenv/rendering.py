"""Stub while the renderer is written."""
RENDER_MODES=("rgb_array","human","depth_array","sensors"); RENDER_FPS=50
def make_renderer(mode, config): return None
