"""How fast retrieval is, alone, served, beside its peers, and with many vectors."""
