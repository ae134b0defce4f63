"""What a trained model makes of its input: temporal controls, and dose-response over the dials of tsgen."""
