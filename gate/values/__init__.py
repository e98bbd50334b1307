"""The gate's values, plain and frozen: intent, policy, verdict, permit, outcome, record. No I/O."""
