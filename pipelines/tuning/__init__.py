"""A reranker of a tenant's own: made from its documents and labels, and used only where it wins."""
