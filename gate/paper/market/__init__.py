"""The paper exchange's market: symbols, filters, prices, fees, error codes."""
