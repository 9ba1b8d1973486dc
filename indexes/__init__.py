"""FAISS and Tantivy indexes, score fusion and immutable snapshots; knows nothing of Ray or HTTP."""
