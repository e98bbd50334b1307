"""The endpoints, in the exchange's own shapes: authentication, weights, limits, answers."""
