"""The campaign: thousands of seeded histories of crashes and faults, each with an oracle that knows the truth."""
