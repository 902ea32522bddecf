"""What any detector can see: the ideal observer, and the share of it that a network reaches."""
