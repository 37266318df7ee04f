"""The chart as mastctl installs it: what is wanted, what it comes to, and what is there."""
