"""Everything that knows Binance USDⓈ-M futures. gate.exchange.rest_client is the only way to python-binance."""
