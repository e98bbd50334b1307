"""What the gate speaks of, as plain frozen values: intent, policy, verdict, permit, outcome, record. No I/O."""
