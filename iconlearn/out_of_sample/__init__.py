"""Answers of a fit for rows: an object with ``outputs(X)`` for each kind of them.

Rows that were seen in the fit, rows that a mapper of features maps, rows that are placed beside a table, and rows of
features for places of the map.
"""
