"""Ways to do hybrid search, each over the same passages and vectors: `build` returns its search.

Given the folder of a cross-encoder, it also reranks by that what it finds.
"""
