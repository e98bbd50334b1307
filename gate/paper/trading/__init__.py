"""From a request's parameters to an order in the books: admission, matching, triggers."""
