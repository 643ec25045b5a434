"""What a classifier needs besides a fit: weights of rows and classes, prototypes, held-out rows."""
