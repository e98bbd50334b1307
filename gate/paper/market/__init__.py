"""What the paper exchange trades, and by which rules: symbols, filters, prices, fees, error codes."""
