"""Training, export and checking of networks with dynamic ReLU."""
