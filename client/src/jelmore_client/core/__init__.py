"""What the client decides, without any I/O: requests, refusals, retries, and the position in a stream."""
