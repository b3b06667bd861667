"""Energy of inference: what one clip costs on a named target, and whether a network fits on a neuromorphic chip."""
