"""Training: one ``fit``, its early stopping, its resumable state and the device it runs on."""
