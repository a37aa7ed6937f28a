"""The codec and the speaker encoder, written once over one set of operations: waveform <-> codec frames."""
