"""What a network costs: operations and memory traffic by layer, and estimates of energy on named targets."""
