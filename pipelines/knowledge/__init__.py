"""Documents to index: read, cut into chunks, embedded with Ray Data, published as a snapshot."""
