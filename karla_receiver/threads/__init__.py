"""What a receiver runs in threads: a lasting event loop, and pools for what may block."""
