"""How fast the copilot answers: one operator, open-loop load, replicas, beside a peer, and what vLLM adds."""
