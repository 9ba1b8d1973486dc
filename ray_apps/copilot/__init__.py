"""The copilot: the HTTP API, and how an answer is planned, grounded and cited."""
