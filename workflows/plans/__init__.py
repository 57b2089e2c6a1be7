"""What a run will do: Plan, memory, Choice and the record of its settings."""
