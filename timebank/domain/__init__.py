"""What the words mean: pure Structs, enums, rules and errors; no clock, no I/O."""
