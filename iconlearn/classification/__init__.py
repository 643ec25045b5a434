"""What a classifier needs besides a fit.

Labels and weights of rows and classes, prototypes, held-out rows, the ridge penalty, weights of new classes, classes
that were found together with those of other rows, and why a row got its class.
"""
