"""The defaults of `serve`. The command line reads them without importing torch."""

HOST, PORT = "127.0.0.1", 8000
MAX_BYTES = 16 * 2**20  # of a picture's file
MAX_MEMORY = 256 * 2**20  # bytes, for decoding one picture
