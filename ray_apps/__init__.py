"""The served graph: one module per Serve deployment, and the copilot's API over them."""
