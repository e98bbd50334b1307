"""A running paper exchange: the HTTP edge, its clock, faults, control interface and process."""
