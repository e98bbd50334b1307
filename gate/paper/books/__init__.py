"""What an account of the paper exchange owns and owes: balances, positions, orders, margin, the ledger."""
