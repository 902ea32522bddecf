"""What is read off the sampled histories and chains."""
