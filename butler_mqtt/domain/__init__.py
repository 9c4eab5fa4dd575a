"""What the program talks about, as plain values and pure rules: no I/O, no foreign library."""
