"""The way of the data: ingest, lake and knowledge, and the flows that schedule them."""
