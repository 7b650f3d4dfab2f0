"""Vector-quantised autoencoders, and priors over their codes."""
