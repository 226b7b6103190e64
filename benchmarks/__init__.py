"""Side by side: this recipe, the original's graph, PyTorch, and what the machine can do at most."""
