"""The network, what is read from its maps, and the model artifact."""
