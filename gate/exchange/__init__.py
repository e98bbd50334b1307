"""Everything that knows Binance USDⓈ-M futures. gate.exchange.binance is the only importer of python-binance."""
