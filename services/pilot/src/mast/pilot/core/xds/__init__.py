"""Sessions with proxies: subscriptions, responses, pushes and what is known about each stream."""
