"""How fast readings come in: clients, sinks, gateways and a peer, side by side."""
