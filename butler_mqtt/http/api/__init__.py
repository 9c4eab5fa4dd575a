"""What the REST door does: start calls, their answers, and the description of both."""
