"""Work outside of the loop's turns: threads and signals."""
