"""From the bytes of a record to rows: decoding, fan-out, blocks."""
