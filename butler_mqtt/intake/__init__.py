"""What arrives at the doors becomes requests and deliveries; duplicates are recognised."""
