"""The endpoints, in the exchange's own shapes: authentication, weights and limits, answers."""
