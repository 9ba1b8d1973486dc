"""Ways to do hybrid search, each over the same passages and vectors: `build` returns its search."""
