"""What the gate costs, measured beside what it is compared with: both sides in one run, in alternation."""
