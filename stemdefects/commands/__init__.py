"""What the four scripts do, and the same as a library. On top of all rooms: nothing imports this."""
