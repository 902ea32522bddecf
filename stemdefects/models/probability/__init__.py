"""From logits to probabilities: states of a site, how common they are, emissions."""
