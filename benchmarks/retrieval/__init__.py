"""Quality and speed of retrieval on labelled corpora in BEIR's layout."""
