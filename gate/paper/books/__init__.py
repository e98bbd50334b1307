"""The books of a paper account: balances, positions, orders, margin, the ledger."""
