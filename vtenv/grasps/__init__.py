"""The paper's data set: grasps, and what camera and gels see of them."""
