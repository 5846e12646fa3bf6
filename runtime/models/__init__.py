"""The contract: records, commands, outcomes, events and their wire forms."""
